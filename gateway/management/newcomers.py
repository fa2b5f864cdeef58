"""Patients and doctors whom the studies of a PACS name, held against the profiles that are there. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gateway.management.index.people import Profile
from gateway.management.matching import Attributes, texts
from gateway.management.routing import canonical, join_patient, name_forms, split_patient

Kind = Literal["patient", "doctor"]
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NAME, _ID, _ISSUER, _DATE = "00100010", "00100020", "00100021", "00080020"
_DOCTORS = (("00080090", "00080096"), ("00081048", "00081049"))
"""Name and identification sequence of the referring physician and of the physicians of record."""
_CODES, _CODE = "00401101", "00080100"


@dataclass(slots=True)
class Newcomer:
    """Somebody of whom ``studies`` studies speak; ``other_names`` by which some of these call the same identifier."""

    kind: Kind
    identifier: str
    name: str
    studies: int = 0
    other_names: int = 0


def named_in(studies: Iterable[Attributes]) -> tuple[list[Newcomer], int]:
    """Who is named, each once, with the name of the latest study; and how many studies state no PatientID."""
    found: dict[tuple[Kind, str], Newcomer] = {}
    names: defaultdict[tuple[Kind, str], set[frozenset[str]]] = defaultdict(set)
    nameless = 0
    for study in sorted(studies, key=lambda one: next(texts(one, _DATE), ""), reverse=True):
        patient = canonical(next(texts(study, _ID), ""))
        nameless += not patient
        here: list[tuple[Kind, str, str]] = [("doctor", *one) for one in _doctors(study)]
        if patient:
            issuer = next(texts(study, _ISSUER), "")
            here.append(("patient", join_patient(patient, issuer), next(_names(study, _NAME), "")))
        for kind, identifier, name in dict.fromkeys(here):
            one = found.setdefault((kind, identifier), Newcomer(kind, identifier, name))
            one.name = one.name or name
            one.studies += 1
            if forms := frozenset(name_forms(name)):
                names[kind, identifier].add(forms)
    for key, one in found.items():
        one.other_names = max(0, len(names[key]) - 1)
    # Who states an issuer or a code comes first: after it the same number or name without one is seen to be known.
    return sorted(found.values(), key=lambda one: (one.kind, _is_vague(one), one.identifier)), nameless


def _is_vague(one: Newcomer) -> bool:
    return one.identifier == _spelt(one.name) if one.kind == "doctor" else not split_patient(one.identifier)[1]


def _doctors(study: Attributes) -> Iterator[tuple[str, str]]:
    """Identifier and name: by the code where the header gives one (PS3.3 table 10-1), else by the name itself."""
    for name_tag, sequence in _DOCTORS:
        several = list(_names(study, name_tag))
        items = study.get(sequence, {}).get("Value") or []
        codes = [_code(item) for item in items] if len(items) == len(several) else [""] * len(several)
        for name, code in zip(several, codes, strict=True):
            spelt = _spelt(name)
            if code or spelt:
                yield code or spelt, name


def _code(item: Any) -> str:
    codes = item.get(_CODES, {}).get("Value") if isinstance(item, dict) else None
    return canonical(next(texts(codes[0], _CODE), "")) if codes and isinstance(codes[0], dict) else ""


def _spelt(name: str) -> str:
    """Family and given name of the first component group that has any."""
    for group in name.split("="):
        parts = [canonical(part) for part in group.split("^")[:2]]
        if parts[0]:
            return "^".join(filter(None, parts))
    return ""


def _names(study: Attributes, tag: str) -> Iterator[str]:
    for value in study.get(tag, {}).get("Value") or []:
        groups = [str(value.get(group) or "") for group in _GROUPS] if isinstance(value, dict) else [str(value)]
        if name := "=".join(groups).rstrip("="):
            yield name


class Known:
    """The profiles that are there, and those that were let in since."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        """Of an index."""
        self._issuers: defaultdict[str, set[str]] = defaultdict(set)
        self._doctors: set[str] = set()
        self._names: set[str] = set()
        for one in profiles:
            if one.kind != "ward":
                self._enter(one.kind, one.identifier, one.name)

    def _enter(self, kind: Kind, identifier: str, name: str) -> None:
        if kind == "patient":
            patient, issuer = split_patient(identifier)
            self._issuers[patient].add(issuer)
            return
        self._doctors.add(canonical(identifier))
        self._names.update({*name_forms(name), *name_forms(identifier)})

    def let_in(self, one: Newcomer) -> tuple[Literal["new", "known", "refused"], str]:
        """Whether it is new, and why not. What is new changes nothing for those who were there."""
        outcome, why = self._patient(one) if one.kind == "patient" else self._doctor(one)
        if outcome == "new":
            self._enter(one.kind, one.identifier, one.name)
            if one.other_names:
                why = "some of its studies have another name: is it one person?"
        return outcome, why

    def _patient(self, one: Newcomer) -> tuple[Literal["new", "known", "refused"], str]:
        patient, issuer = split_patient(one.identifier)
        issuers = self._issuers.get(patient, set())
        if issuer in issuers:
            return "known", ""
        if "" in issuers:
            return "known", "without an issuer: all of this number are its studies"
        if issuers and not issuer:
            return "refused", "this number is known with an issuer, and the PACS states none: add it by hand"
        return "new", ""

    def _doctor(self, one: Newcomer) -> tuple[Literal["new", "known", "refused"], str]:
        if one.identifier in self._doctors:
            return "known", ""
        if self._names.isdisjoint({*name_forms(one.name), *name_forms(one.identifier)}):
            return "new", ""
        if _is_vague(one):
            return "known", "by its name"
        return "refused", "a doctor of this name is known by another identifier: if this is another, add it by hand"
