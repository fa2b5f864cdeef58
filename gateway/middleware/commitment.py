"""Storage commitment (PS3.4 annex J): a PACS says that it keeps what it was sent. It calls us to say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from gateway.middleware.header import legal_uid

PUSH_MODEL = UID("1.2.840.10008.1.20.1")
INSTANCE = UID("1.2.840.10008.1.20.1.1")  # the well-known one
ACTION = 1
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Commitment:
    """What a PACS answers: which instances it keeps, and which it does not, with the FailureReason (PS3.3 C.14-1)."""

    transaction: str
    kept: tuple[str, ...]
    failed: tuple[tuple[str, int], ...]


def request(transaction: str, instances: Sequence[tuple[str, str]]) -> Dataset:
    """The N-ACTION's data set (PS3.4 table J.3-2); ``instances`` as (SOPClassUID, SOPInstanceUID)."""
    data = Dataset()
    data.TransactionUID = transaction
    data.ReferencedSOPSequence = []
    for SOPClassUID, SOPInstanceUID in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = SOPClassUID, SOPInstanceUID
        data.ReferencedSOPSequence.append(item)
    return data


def read_report(data: Dataset) -> Commitment:
    """The N-EVENT-REPORT's data set (PS3.4 table J.3-5). Raises ValueError on one that says nothing."""
    transaction = str(data.get("TransactionUID", ""))
    if not legal_uid(transaction):
        raise ValueError("a report without a TransactionUID")
    kept = _uids(data.get("ReferencedSOPSequence"))
    failed = [
        (str(item.get("ReferencedSOPInstanceUID", "")), int(item.get("FailureReason", 0x0110) or 0x0110))
        for item in data.get("FailedSOPSequence") or []
    ]
    if len(kept) + len(failed) > _MOST:
        raise ValueError("a report of too many instances")
    return Commitment(transaction, tuple(kept), tuple(one for one in failed if legal_uid(one[0])))


def _uids(sequence: Sequence[Dataset] | None) -> list[str]:
    found = [str(item.get("ReferencedSOPInstanceUID", "")) for item in sequence or []]
    return [uid for uid in found if legal_uid(uid)]
