"""Whose an imported picture or document is: a patient who is known here, by a study or by a profile."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy.engine import Connection

from gateway.management.index import arrivals_read, people
from gateway.management.index.arrivals_rows import StudyRow
from gateway.management.routing import canonical, split_patient
from gateway.middleware.header import legal_uid
from gateway.middleware.importing.stated import wrong_name, wrong_text
from gateway.middleware.importing.subject import Subject

_STUDY = {
    "00080020": "StudyDate",
    "00080030": "StudyTime",
    "00080050": "AccessionNumber",
    "00080090": "ReferringPhysicianName",
    "00080201": "TimezoneOffsetFromUTC",
    "00081030": "StudyDescription",
    "00200010": "StudyID",
    "00380300": "CurrentPatientLocation",
}
_BIRTH_DATE, _SEX, _NAME = "00100030", "00100040", "00100010"
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")


class SubjectRefusedError(Exception):
    """No such patient or study, or they do not belong together; the text says what to do."""


def find_subject(
    connection: Connection, patient: str = "", study: str = "", name: str = "", issuer: str = ""
) -> Subject:
    """The patient and study that an operator names.

    Args:
        connection: to the index.
        patient: PatientID, or ``ID^^^ISSUER``; empty: that of ``study``.
        study: StudyInstanceUID; empty: a new one.
        name: PatientName of a patient who is not known yet; held against the name of one who is.
        issuer: IssuerOfPatientID, where several patients have this PatientID.

    Raises:
        SubjectRefusedError
    """
    patient, issuer = _stated(patient, issuer)
    if wrong := wrong_name(name) or wrong_text(patient, "the PatientID") or wrong_text(issuer, "the issuer"):
        raise SubjectRefusedError(wrong)
    if study:
        if not legal_uid(study):
            raise SubjectRefusedError("the study is not a UID: give a StudyInstanceUID")
        row = arrivals_read.study(connection, study)
        if row is not None:
            is_others = issuer and canonical(row.IssuerOfPatientID) != issuer
            if patient and (canonical(row.PatientID) != patient or is_others):
                raise SubjectRefusedError("this study is another patient's: check the patient and the study")
            return _of_study(row, study, name)
    if not patient:
        raise SubjectRefusedError(
            "there is no such study here: name its patient too" if study else "name a patient or a study"
        )
    return _of_patient(connection, patient, study, name, issuer)


def _stated(patient: str, issuer: str) -> tuple[str, str]:
    """PatientID and issuer, which may stand in one as profiles have them: ``ID^^^ISSUER``."""
    alone, stated = split_patient(patient)
    issuer = canonical(issuer)
    if stated and issuer and stated != issuer:
        raise SubjectRefusedError("the patient is named with one issuer, and the issuer is another: give one of them")
    return alone, stated or issuer


def _of_patient(connection: Connection, patient: str, study: str, name: str, issuer: str) -> Subject:
    rows = arrivals_read.studies_of_patient(connection, patient, issuer or None)
    issuers = {row.IssuerOfPatientID for row in rows}
    if len(issuers) > 1:
        raise SubjectRefusedError("several patients have this PatientID: name its issuer, or a study")
    if rows:
        known = _of_study(rows[0], study, name)
        return Subject(
            known.PatientID,
            known.IssuerOfPatientID,
            known.PatientName,
            known.PatientBirthDate,
            known.PatientSex,
            study,
        )
    profiles = [
        profile
        for profile in people.all_profiles(connection)
        if profile.kind == "patient" and split_patient(profile.identifier) in ((patient, issuer), (patient, ""))
    ]
    if profiles and profiles[0].name:
        _check_name(profiles[0].name, name)
    if not profiles and not name:
        raise SubjectRefusedError(
            "no study and no profile has this patient: check the PatientID, or give the name of a new patient too"
        )
    return Subject(patient, issuer, name or profiles[0].name, StudyInstanceUID=study)


def _of_study(row: StudyRow, study: str, name: str) -> Subject:
    attributes: dict[str, Any] = json.loads(row.attributes)
    known = _text(attributes, _NAME) or row.PatientName
    _check_name(known, name)
    return Subject(
        row.PatientID,
        row.IssuerOfPatientID,
        known or name,
        _text(attributes, _BIRTH_DATE),
        _text(attributes, _SEX),
        study,
        {keyword: text for tag, keyword in _STUDY.items() if (text := _text(attributes, tag))},
    )


def _check_name(known: str, name: str) -> None:
    if name and known and canonical(name).casefold() != canonical(known).casefold():
        raise SubjectRefusedError("this patient is known here by another name: check the PatientID")


def _text(attributes: dict[str, Any], tag: str) -> str:
    """An attribute's first value in the DICOM JSON model, a name with all its groups."""
    values = attributes.get(tag, {}).get("Value", [])
    value = values[0] if values else ""
    if isinstance(value, dict):
        return "=".join(str(value.get(group, "")) for group in _GROUPS).rstrip("=")
    return str(value)
