"""The file meta group that intake writes in front of a data set that came without one (PS3.10 section 7.1)."""

from __future__ import annotations

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

IMPLEMENTATION_CLASS_UID = UID("2.25.269310265635550495836622267089223055888")
IMPLEMENTATION_VERSION_NAME = "MPACS_EDGE_1"


def preamble_and_meta(
    SOPClassUID: str, SOPInstanceUID: str, TransferSyntaxUID: str, calling_aet: str, called_aet: str
) -> bytes:
    """Preamble, prefix and file meta group of a received data set.

    The UIDs must be legal (PS3.5 section 9.1). The AE titles stand in (0002,0016) to (0002,0018); they differ by
    sender, which is why instances are compared by the digest of their data set and not by that of the file.
    """
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(SOPInstanceUID)
    meta.TransferSyntaxUID = UID(TransferSyntaxUID)
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    if calling_aet:
        meta.SourceApplicationEntityTitle = calling_aet
        meta.SendingApplicationEntityTitle = calling_aet
    if called_aet:
        meta.ReceivingApplicationEntityTitle = called_aet
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = False
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + buffer.getvalue()
