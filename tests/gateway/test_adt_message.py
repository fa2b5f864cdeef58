"""HL7 v2 ADT messages: what is read of them, in which characters, and what is refused and how."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.middleware.adt.answer import Verdict, answer
from gateway.middleware.adt.errors import AdtError
from gateway.middleware.adt.message import Header, Reading, movements, parse
from gateway.middleware.adt.names import person_name
from gateway.middleware.movement import Change, Movement

NOW = 1_800_000_000.0
SEOUL = Reading(time_zone="Asia/Seoul")


def message(event: str = "A01", charset: str = "UNICODE UTF-8", **fields: str) -> str:
    """One as hospitals send it; ``fields`` replace whole fields: ``PID_3``, ``PV1_3``, ``MSH_11``."""
    found = {
        "MSH": f"MSH|^~\\&|HIS|SEOUL|MPACS||20241124140500||ADT^{event}^ADT_A01|M-1|P|2.5.1||||||{charset}",
        "EVN": f"EVN|{event}|20241124140000",
        "PID": "PID|1||P-1001^^^HOSP^MR||홍^길동^^^^^L^P~Hong^Gildong^^^^^L^A~洪^吉童^^^^^L^I||19710301|M",
        "PV1": "PV1|1|I|W3^301^2^HOSP",
    }
    for name, value in fields.items():
        segment, _, number = name.partition("_")
        parts = found[segment].split("|")
        position = int(number) - (segment == "MSH")
        parts += [""] * (position + 1 - len(parts))
        parts[position] = value
        found[segment] = "|".join(parts)
    return "\r".join(found.values()) + "\r"


def read(text: str | bytes, reading: Reading = SEOUL) -> list[Movement]:
    data = text.encode() if isinstance(text, str) else text
    return movements(parse(data, reading), reading, NOW)


def one(text: str | bytes, reading: Reading = SEOUL) -> Movement:
    (found,) = read(text, reading)
    return found


def refused(text: str | bytes, reading: Reading = SEOUL) -> AdtError:
    with pytest.raises(AdtError) as caught:
        read(text, reading)
    return caught.value


# ── what is read ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_admission() -> None:
    assert one(message()) == Movement(
        change=Change.ADMIT,
        PatientID="P-1001",
        IssuerOfPatientID="",
        at=dt.datetime(2024, 11, 24, 5, 0, tzinfo=dt.UTC).timestamp(),
        ward="W3",
        bed="301-2",
        PatientName="Hong^Gildong=洪^吉童=홍^길동",
        authority="HOSP",
        source="hl7",
        message="HIS|SEOUL|M-1",
    )


@pytest.mark.parametrize(
    ("event", "change", "ward"),
    [
        ("A02", Change.TRANSFER, "W3"),
        ("A03", Change.DISCHARGE, ""),
        ("A06", Change.ADMIT, "W3"),
        ("A07", Change.DISCHARGE, ""),
        ("A08", Change.UPDATE, "W3"),
        ("A11", Change.CANCEL_ADMIT, ""),
        ("A12", Change.CANCEL_TRANSFER, ""),
        ("A13", Change.CANCEL_DISCHARGE, ""),
    ],
)
def test_the_events_that_move_somebody(event: str, change: Change, ward: str) -> None:
    found = one(message(event))
    assert (found.change, found.ward, found.PatientID) == (change, ward, "P-1001")


@pytest.mark.parametrize("event", ["A04", "A05", "A09", "A14", "A21", "A28", "A31", "A41", "A50", "A60"])
def test_events_about_something_else_are_accepted_and_change_nothing(event: str) -> None:
    assert read(message(event)) == []


def test_two_patients_who_change_beds() -> None:
    other = "PID|2||P-1002^^^HOSP^MR\rPV1|2|I|W5^502^1\r"
    assert [(m.change, m.PatientID, m.ward) for m in read(message("A17") + other)] == [
        (Change.TRANSFER, "P-1001", "W3"),
        (Change.TRANSFER, "P-1002", "W5"),
    ]
    assert refused(message("A17")).condition == 100


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
@pytest.mark.parametrize("before", ["", "\r\n", "\ufeff"])
def test_line_ends_as_senders_write_them(end: str, before: str) -> None:
    assert one(before + message().replace("\r", end)) == one(message())


def test_other_separators() -> None:
    text = message().translate(str.maketrans("|^~&", "#*+!"))
    assert one(text) == one(message())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("W\\T\\3", "W&3"),
        ("W\\S\\\\F\\3", "W^|3"),
        ("A\\E\\B", "A\\B"),
        ("W\\XED9998\\", "W환"),
        ("W\\H\\3\\N\\", "W3"),
        ("W\\.sp4000000000\\3", "W3"),  # the count is not believed
        ("W\\3", "W\\3"),
        ('""', None),
    ],
)
def test_escape_sequences(written: str, meant: str | None) -> None:
    if meant is None:
        assert refused(message(PV1_3=written)).condition == 101
    else:
        assert one(message(PV1_3=written)).ward == meant


def test_a_broken_escape_sequence() -> None:
    assert refused(message(PV1_3="W\\Xzz\\")).condition == 102


# ── characters ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UNICODE UTF-8", "utf-8"),
        ("unicode utf-8", "utf-8"),
        ("~UNICODE UTF-8", "utf-8"),
        ("ASCII~KS X 1001", "euc_kr"),
        ("KS X 1001", "euc_kr"),
        ("KS X 1001", "cp949"),
        ("GB 18030-2000", "gb18030"),
        ("", "utf-8"),
        ("ASCII", "utf-8"),
    ],
)
def test_korean_names(declared: str, codec: str) -> None:
    text = message(charset=declared, PID_5="홍^길동")
    assert one(text.encode(codec)).PatientName == "홍^길동"


def test_a_syllable_beyond_ks_x_1001() -> None:
    assert one(message(charset="KS X 1001", PID_5="똠^방각").encode("cp949")).PatientName == "똠^방각"


def test_japanese_by_escape_sequences() -> None:
    text = message(charset="ISO IR87", PID_5="山田^太郎").encode("iso2022_jp")
    assert one(text).PatientName == "山田^太郎"


def test_undeclared_characters_are_not_guessed_but_may_be_configured() -> None:
    data = message(charset="", PID_5="홍^길동").encode("euc_kr")
    assert "hl7.charset" in refused(data).reason
    assert one(data, Reading(charset="KS X 1001")).PatientName == "홍^길동"


@pytest.mark.parametrize("charset", ["UNICODE UTF-16", "KLINGON"])
def test_characters_that_are_not_read(charset: str) -> None:
    assert refused(message(charset=charset)).code == "AR"


def test_bytes_that_do_not_fit_what_is_declared() -> None:
    assert refused(message(PID_5="홍^길동").encode("euc_kr")).code == "AR"


@pytest.mark.parametrize(
    ("repetitions", "name"),
    [
        (["Hong^Gildong^M^Jr^Dr"], "Hong^Gildong^M^Dr^Jr"),
        (["홍길동"], "홍길동"),
        (["Alias^A^^^^^A", "Hong^G^^^^^L"], "Hong^G"),
        (["Hong^G^^^^^L^A", "Hong^H^^^^^L^A"], "Hong^G"),
        (["^^^^^^L^I", "Hong"], "Hong"),
        (["홍^길동^^^^^L^P"], "==홍^길동"),
        (["a=b^c"], "a b^c"),
        ([], ""),
    ],
)
def test_names(repetitions: list[str], name: str) -> None:
    parts = [(one.split("^") + [""] * 8)[:8] for one in repetitions]
    assert person_name(parts) == name


# ── identifiers and times ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "reading", "found"),
    [
        ("P-1", {}, ("P-1", "", "")),
        ("900101-1^^^KR^NI~P-1^^^HOSP^MR", {}, ("P-1", "", "HOSP")),
        ("900101-1^^^KR^NI~P-1^^^HOSP^PI", {}, ("P-1", "", "HOSP")),
        ("P-1^^^A^MR~P-2^^^B^MR", {"authority": "B"}, ("P-2", "", "B")),
        ("P-1^^^A&1.2.3&ISO^MR", {"authority": "1.2.3"}, ("P-1", "", "A")),
        ("P-1^^^A^MR", {"keep_issuer": True}, ("P-1", "A", "")),
    ],
)
def test_whose_identifier_counts(field: str, reading: dict[str, Any], found: tuple[str, str, str]) -> None:
    movement = one(message(PID_3=field), Reading(**reading))
    assert (movement.PatientID, movement.IssuerOfPatientID, movement.authority) == found


@pytest.mark.parametrize("event", ["A18", "A34", "A40", "A47"])
def test_merges(event: str) -> None:
    merged = message(event) + "MRG|E-77^^^HOSP^MR\rPID|2||P-3^^^HOSP^MR\rMRG|E-78^^^HOSP^MR\r"
    assert [(m.change, m.PatientID, m.into) for m in read(merged)] == [
        (Change.MERGE, "E-77", ("P-1001", "")),
        (Change.MERGE, "E-78", ("P-3", "")),
    ]
    assert one(message(event) + "MRG|E-77^^^B^MR\r", Reading(keep_issuer=True)).IssuerOfPatientID == "B"
    assert "MRG-1" in refused(message(event)).reason


def test_an_identifier_where_old_senders_have_it() -> None:
    assert one(message(PID_2="P-7", PID_3="")).PatientID == "P-7"


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("20241124140000", "2024-11-24T05:00:00"),
        ("202411241400", "2024-11-24T05:00:00"),
        ("20241124", "2024-11-23T15:00:00"),
        ("20241124140000.25", "2024-11-24T05:00:00"),
        ("20241124140000+0000", "2024-11-24T14:00:00"),
        ("20241124140000.1234-0500", "2024-11-24T19:00:00"),
        ("", "2024-11-24T05:05:00"),  # then it is MSH-7
    ],
)
def test_times(text: str, utc: str) -> None:
    found = one(message(EVN_2=text)).at
    assert dt.datetime.fromtimestamp(found, dt.UTC).isoformat(timespec="seconds") == f"{utc}+00:00"


def test_no_time_at_all_is_now() -> None:
    assert one(message(EVN_2="", MSH_7="")).at == NOW


def test_without_a_zone_it_is_this_machine_s() -> None:
    expected = dt.datetime(2024, 11, 24, 14, 0).astimezone().timestamp()
    assert one(message(), Reading()).at == expected


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "code", "condition"),
    [
        (message("A40"), "AE", 101),
        (message("A24"), "AE", 207),
        (message("A43"), "AE", 207),
        (message(MSH_9="ORU^R01"), "AR", 200),
        (message(MSH_9="ADT^nonsense"), "AR", 200),
        (message(MSH_9=""), "AR", 200),
        (message(MSH_11="T"), "AR", 202),
        (message(MSH_11="D"), "AR", 202),
        (message(PV1_3=""), "AE", 101),
        (message(PV1_3="^301^2"), "AE", 101),
        (message(PID_3=""), "AE", 101),
        (message(EVN_2="yesterday"), "AE", 102),
        (message(EVN_2="20241324"), "AE", 102),
        (message(EVN_2="2024-11-24"), "AE", 102),
        (message().replace("PID|", "PIX|"), "AE", 100),
        (message().replace("PV1|", "PV9|"), "AE", 101),
        ("", "AR", 100),
        ("MSH", "AR", 100),
        ("MSH|", "AR", 100),
        ("MSH|^~\\&", "AR", 200),
        ("hello", "AR", 100),
        ("PID|1||P-1\r" + message(), "AR", 100),
        ("MSH||||||||||||||\rPID", "AR", 200),
        (message() + "PV1|\r" * 100, "AR", 100),
        (message(PV1_3="W" * 40_000), "AR", 100),
        (message().replace("PID|1", "PID^1"), "AR", 100),
    ],
)
def test_what_is_refused(text: str, code: str, condition: int) -> None:
    error = refused(text)
    assert (error.code, error.condition) == (code, condition)
    assert "P-1001" not in error.reason and "길동" not in error.reason


@given(st.binary(max_size=400))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    try:
        assert not read(data) or data.startswith(b"MSH")
    except AdtError as error:
        assert error.reason.isascii()


@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_a_message_that_was_cut_or_changed_anywhere(at: int, byte: int, is_cut: bool) -> None:
    data = bytearray(message().encode())
    at = min(at, len(data) - 1)
    if is_cut:
        del data[at:]
    else:
        data[at] = byte
    try:
        assert len(read(bytes(data))) <= 1
    except AdtError as error:
        assert error.reason.isascii()


def test_a_message_of_nothing_but_separators() -> None:
    assert refused("MSH|^~\\&" + "|" * 32_000 + "\rPID" + "|^~&" * 8_000).code == "AR"


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────


def answered(header: Header, verdict: Verdict) -> list[str]:
    found = answer(header, verdict, NOW)
    return [] if found is None else found.decode().split("\r")


def test_an_answer_names_the_message_and_its_sender() -> None:
    header = parse(message().encode(), SEOUL).header
    msh, msa, rest = answered(header, Verdict("AA"))
    assert msh.split("|")[2:6] == ["MPACS", "", "HIS", "SEOUL"]
    assert msh.split("|")[8] == "ACK^A01^ACK" and msh.split("|")[10:12] == ["P", "2.5.1"]
    assert msa == "MSA|AA|M-1|" and rest == ""


def test_a_refusal_says_why() -> None:
    _, msa, err, _ = answered(Header(control_id="M\r|9"), Verdict("AE", "no ward", 101))
    assert msa == "MSA|AE|M9|no ward" and err == "ERR|||101^^HL70357|E||||no ward"


@pytest.mark.parametrize(
    ("accept", "result", "code", "sent"),
    [
        ("", "", "AE", "AE"),
        ("AL", "NE", "AA", "CA"),
        ("AL", "", "AR", "CR"),
        ("NE", "AL", "AA", "AA"),
        ("AL", "AL", "AE", "AE"),
        ("NE", "NE", "AE", None),
        ("ER", "NE", "AA", None),
        ("ER", "NE", "AE", "CE"),
        ("NE", "SU", "AA", "AA"),
        ("NE", "SU", "AE", None),
    ],
)
def test_acknowledgements_as_the_sender_asks_for_them(accept: str, result: str, code: str, sent: str | None) -> None:
    found = answered(Header(control_id="1", accept=accept, result=result), Verdict(code))
    assert (found[1].split("|")[1] if found else None) == sent
