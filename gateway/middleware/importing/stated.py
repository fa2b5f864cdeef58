"""What an operator states of files that are no DICOM yet: whether it fits the elements that it goes into.

Functions return why a value does not fit, for the operator to read, or nothing. They never quote the value.
"""

from __future__ import annotations

import unicodedata
from typing import Final

LONG_STRING: Final = 64
"""Characters of LO, and of each component group of PN (PS3.5 table 6.2-1)."""
_CODE_STRING: Final = 16
_GROUPS: Final = 3
_COMPONENTS: Final = 5
_TERMS: Final = """
    ANN AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DG DMS DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT IVUS
    KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF RG RTDOSE
    RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG US VA XA
    XAPROTOCOL XC
"""
MODALITIES: Final = frozenset(_TERMS.split())
"""Defined terms of Modality (PS3.3 C.7.3.1.1.1), without those that are retired."""


def wrong_text(value: str, what: str) -> str:
    """Why it is no LO: a PatientID, an issuer, a description."""
    if len(value) > LONG_STRING:
        return f"{what} has {len(value)} characters: at most {LONG_STRING} fit"
    return _wrong_characters(value, what)


def wrong_name(value: str) -> str:
    """Why it is no PN: up to three groups joined by ``=``, each of up to five components joined by ``^``."""
    groups = value.split("=")
    if len(groups) > _GROUPS:
        return f"the name has {len(groups)} component groups: at most {_GROUPS}, joined by ="
    for group in groups:
        if len(group) > LONG_STRING:
            return f"the name has a group of {len(group)} characters: at most {LONG_STRING} fit"
        if group.count("^") >= _COMPONENTS:
            return f"the name has {group.count('^') + 1} components: at most {_COMPONENTS}, joined by ^"
    if value and not value.strip("^= "):
        return "the name is empty but for its separators"
    return _wrong_characters(value, "the name")


def wrong_modality(value: str) -> str:
    """Why it is no term of Modality."""
    if not value or value in MODALITIES:
        return ""
    if value.upper() in MODALITIES and len(value) <= _CODE_STRING:
        return "the modality is written in capitals"
    return "the modality is none that DICOM defines (PS3.3 C.7.3.1.1.1), such as XC, US, ES, OT"


def _wrong_characters(value: str, what: str) -> str:
    if "\\" in value:
        return f"{what} holds a backslash, which separates values in DICOM"
    # unpaired surrogates are what the command line makes of bytes that are no UTF-8
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in value):
        return f"{what} holds a control character or bytes that are no text"
    return ""
