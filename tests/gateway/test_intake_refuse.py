"""What is not taken: each for its own reason, kept for an operator, and the association goes on with the next."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pydicom
import pytest
from test_intake_support import DEADLINE_S, Intake, RawSender, data_set_bytes, intake, sample, variant

from gateway.management.index import arrivals
from gateway.middleware.admission import Admission, Admitted
from gateway.middleware.archive import Archive
from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.refusal import Refusal, RefusalReason

__all__ = ["intake"]  # the fixture

CORPUS = os.environ.get("MPACS_CORPUS")
DEFLATED = "1.2.840.10008.1.2.1.99"


def _good(tmp_path: Path, **changes: object) -> tuple[bytes, str]:
    path = variant(tmp_path / "good.dcm", **changes)
    return data_set_bytes(path), str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def _element(tag: int, vr: str, value: bytes) -> bytes:
    value += b"\0" if len(value) % 2 and vr == "UI" else b" " * (len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def _minimal(**changes: bytes) -> bytes:
    """The smallest data set that is taken, with some of its values exchanged or (empty) left out."""
    values = {
        "SOPClassUID": (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2"),
        "SOPInstanceUID": (0x00080018, "UI", b"1.2.3.4"),
        "PatientID": (0x00100020, "LO", b"P1"),
        "StudyInstanceUID": (0x0020000D, "UI", b"1.2.3"),
        "SeriesInstanceUID": (0x0020000E, "UI", b"1.2.3.1"),
    }
    return b"".join(
        _element(tag, vr, changes.get(keyword, value))
        for keyword, (tag, vr, value) in values.items()
        if changes.get(keyword) != b""
    )


def _nested(depth: int) -> bytes:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)
    head = _element(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.2") + _element(0x00080018, "UI", b"1.2.3.4")
    return head + (sequence + item) * depth


def _encapsulated(closed: bool) -> bytes:
    pixels = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
    items = b"\xfe\xff\x00\xe0\0\0\0\0" + b"\xfe\xff\x00\xe0\x04\0\0\0abcd"
    return _minimal() + pixels + items + (b"\xfe\xff\xdd\xe0\0\0\0\0" if closed else b"")


PIXELS_CUT = struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, 512 * 512 * 2) + b"\0" * 100

BROKEN = [
    ("empty-garbage", b"\0" * 40, RefusalReason.MISSING_ATTRIBUTE),
    ("text", b"GET / HTTP/1.1\r\nHost: example\r\n\r\n" * 9, RefusalReason.TRUNCATED),
    ("nested", _nested(5000), RefusalReason.UNREADABLE),
    ("no-study", _minimal(StudyInstanceUID=b""), RefusalReason.MISSING_ATTRIBUTE),
    ("no-series", _minimal(SeriesInstanceUID=b""), RefusalReason.MISSING_ATTRIBUTE),
    ("path-uid", _minimal(StudyInstanceUID=b"../../etc/passwd"), RefusalReason.ILLEGAL_UID),
    ("long-uid", _minimal(StudyInstanceUID=b"1." * 32 + b"1"), RefusalReason.ILLEGAL_UID),
    ("dotted-uid", _minimal(SeriesInstanceUID=b"1..2"), RefusalReason.ILLEGAL_UID),
    ("nul-uid", _minimal(SeriesInstanceUID=b"1.2\x001.2"), RefusalReason.ILLEGAL_UID),
    ("long-id", _minimal(PatientID=b"x" * 257), RefusalReason.ILLEGAL_VALUE),
    ("cut-pixels", _minimal() + PIXELS_CUT, RefusalReason.TRUNCATED),
    ("cut-element", _minimal()[:-3], RefusalReason.TRUNCATED),
    ("cut-head", _minimal() + b"\x20\x00\x11", RefusalReason.TRUNCATED),
    ("cut-fragments", _encapsulated(closed=False), RefusalReason.TRUNCATED),
    ("other-instance", _minimal(SOPInstanceUID=b"1.2.3.5"), RefusalReason.MISMATCH),
    ("other-class", _minimal(SOPClassUID=b"1.2.840.10008.5.1.4.1.1.4"), RefusalReason.MISMATCH),
]


def test_what_the_broken_ones_are_made_of_is_taken(intake: Intake) -> None:
    sender = RawSender(intake.port)
    assert sender.store(_minimal(), "1.2.3.4") == (0, "")
    sender.close()
    other = RawSender(intake.port)
    assert other.store(_encapsulated(closed=True).replace(b"1.2.3.4\0", b"1.2.3.6\0"), "1.2.3.6") == (0, "")
    other.close()
    assert [arrival.has_pixels for arrival, _ in intake.arrivals] == [False, True]


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_refusal_has_its_reason_and_the_next_is_served(
    intake: Intake, tmp_path: Path, data: bytes, reason: RefusalReason
) -> None:
    good, uid = _good(tmp_path)
    sender = RawSender(intake.port)
    status, comment = sender.store(data)
    assert status == reason.status
    assert sender.store(good, uid) == (0, "")
    sender.close()
    (refusal,) = intake.refusals
    assert refusal.reason is reason
    assert comment == refusal.detail[:64]
    kept = intake.archive.root / refusal.path
    assert kept == intake.archive.quarantine_path(refusal.digest)
    assert kept.read_bytes().endswith(data)
    with intake.engine.connect() as connection:
        (row,) = arrivals.list_quarantine(connection)
    assert (row.digest, row.reason, row.times) == (refusal.digest, reason.value, 1)
    assert [outcome for _, outcome in intake.arrivals] == [StoreOutcome.NEW]
    assert intake.spooled == []


def test_statuses_are_those_of_the_standard() -> None:
    # PS3.4 table B.2-1; 0x0110 is PS3.7 annex C.5.
    families = {
        reason: reason.status >> 12 if reason.status >= 0xC000 else reason.status >> 8 for reason in RefusalReason
    }
    assert families.pop(RefusalReason.MISMATCH) == 0xA9
    assert families.pop(RefusalReason.OUT_OF_RESOURCES) == families.pop(RefusalReason.TOO_LARGE) == 0xA7
    assert families.pop(RefusalReason.PROCESSING_FAILURE) == 0x01
    assert set(families.values()) == {0xC}


@pytest.mark.parametrize("named", ["../../../tmp/x", "1." * 40 + "1", "not a uid"])
def test_an_illegal_uid_in_the_request_does_not_end_the_association(intake: Intake, tmp_path: Path, named: str) -> None:
    good, uid = _good(tmp_path)
    sender = RawSender(intake.port)
    assert sender.store(good, named)[0] == RefusalReason.MISMATCH.status
    assert sender.store(good, uid) == (0, "")
    sender.close()


def test_no_text_of_a_refusal_carries_an_identity(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    sender = RawSender(intake.port)
    for instance in ("1.2.3.77", "1.2.3.78"):
        status, comment = sender.store(_minimal(PatientID=b"SECRETPATIENT", SOPInstanceUID=b"1.2.3.99"), instance)
        assert status == 0xA900
        assert "SECRET" not in comment
        assert "1.2.3" not in comment
    sender.close()
    intake.wait_for(lambda: len(intake.refusals) == 2)
    assert "refused an instance of ae-" in caplog.text
    assert "SECRET" not in caplog.text + repr(intake.refusals)
    assert "1.2.3.7" not in caplog.text + repr(intake.refusals)


def test_a_deflate_bomb_is_counted_not_kept(intake: Intake) -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = _minimal() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFF0)
    bomb = (
        deflater.compress(head) + b"".join(deflater.compress(b"\0" * (1 << 20)) for _ in range(300)) + deflater.flush()
    )
    assert len(bomb) < 1 << 19
    sender = RawSender(intake.port, [DEFLATED])
    before = _peak_mb()
    status, _ = sender.store(bomb)
    sender.close()
    assert status == RefusalReason.TRUNCATED.status  # its pixel data end before they said
    assert _peak_mb() - before < 100


def test_a_cut_deflated_data_set_is_refused(intake: Intake) -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    whole = deflater.compress(_minimal() + os.urandom(0)) + deflater.flush()
    sender = RawSender(intake.port, [DEFLATED])
    assert sender.store(whole[:-6])[0] == RefusalReason.TRUNCATED.status
    assert sender.store(b"\xff" * 20)[0] == RefusalReason.UNREADABLE.status
    assert sender.store(whole + b"\0" * (len(whole) % 2)) == (0, "")
    sender.close()


def _peak_mb() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def test_an_index_that_fails_is_a_failure_for_the_sender_and_it_may_try_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    attempts: list[Arrival] = []
    told: list[Refusal] = []

    def on_arrival(arrival: Arrival) -> StoreOutcome:
        attempts.append(arrival)
        if len(attempts) == 1:
            raise RuntimeError("locked")
        return StoreOutcome.NEW

    admission = Admission(archive, on_arrival, told.append)
    first = admission.admit_file(sample(), "import")
    assert isinstance(first, Refusal)
    assert first.reason is RefusalReason.PROCESSING_FAILURE
    assert told == [first]
    second = admission.admit_file(sample(), "import")
    assert isinstance(second, Admitted)
    assert archive.path(second.arrival.digest).read_bytes() == sample().read_bytes()


def test_an_imported_file_and_its_c_store_are_the_same_instance(intake: Intake, tmp_path: Path) -> None:
    path = variant(tmp_path / "a.dcm")
    admission = Admission(intake.archive, intake.on_arrival, intake.on_refused)
    assert isinstance(admission.admit_file(path, "import"), Admitted)
    sender = RawSender(intake.port)
    assert sender.store(data_set_bytes(path), str(pydicom.dcmread(path).SOPInstanceUID))[0] == 0
    sender.close()
    assert [outcome for _, outcome in intake.arrivals] == [StoreOutcome.NEW, StoreOutcome.TWIN]
    assert len(list(intake.archive.digests())) == 1


@pytest.mark.corpus
@pytest.mark.skipif(CORPUS is None, reason="MPACS_CORPUS is not set")
def test_the_malformed_corpus_is_taken_or_refused_with_a_reason(intake: Intake) -> None:
    admission = Admission(intake.archive, intake.on_arrival, intake.on_refused)
    files = sorted((Path(str(CORPUS)) / "malformed").glob("*.dcm"))
    reasons = {
        path.name: result.reason if isinstance(result := admission.admit_file(path, "corpus"), Refusal) else None
        for path in files
    }
    assert len(reasons) > 30
    assert set(reasons.values()) <= {None, *(reason for reason in RefusalReason if reason.quarantined)}
    assert reasons["MR_truncated.dcm"] is RefusalReason.TRUNCATED
    assert reasons["rtplan_truncated.dcm"] is RefusalReason.TRUNCATED
    assert reasons["emri_small_jpeg_2k_lossless_too_short.dcm"] is RefusalReason.TRUNCATED
    assert reasons["no_meta.dcm"] is RefusalReason.UNREADABLE
    # A sequence of VR UN inside big endian is little endian (PS3.5 6.2.2), which pydicom does not know.
    assert reasons["GH177_D_CLUNIE_CT1_IVRLE_BigEndian_undefined_length.dcm"] is None
    assert reasons["DICOMDIR-empty.dcm"] is RefusalReason.MISSING_ATTRIBUTE
    assert reasons["Issue56-NoPixelData.dcm"] is None
    # Whatever came before it, a good one is served.
    assert isinstance(admission.admit_file(sample(), "corpus"), Admitted)
    intake.wait_for(lambda: len(intake.refusals) == sum(reason is not None for reason in reasons.values()), DEADLINE_S)
