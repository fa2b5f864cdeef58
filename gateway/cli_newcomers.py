"""``mpacs-gateway profile import --from-pacs``: profiles of those whom a PACS's studies name."""

import datetime as dt
from typing import Any

import click

from gateway.audit import Event
from gateway.cli_pacs_support import account, answer_of
from gateway.cli_support import fail, print_json, progress, table

_PARTS, _DAYS = 60, 7
"""A range of dates is searched in so many parts at most, each of so many days at least."""
_MOST = 5000
"""Studies of one part; more than this no search gives."""
_MODALITIES, _MODALITY, _STUDY_UID = "00080061", "00080060", "0020000D"


def import_from_pacs(
    state: Any, name: str, date: str, modality: str, kinds: tuple[str, ...], dry_run: bool, as_json: bool
) -> None:
    """Search, and add those who are new; what is there stays as it is. Ends with 1 where somebody is left out."""
    from gateway import app
    from gateway.management.newcomers import Known, named_in

    studies, too_many = _search(state, name, date, modality)
    found, nameless = named_in(studies)
    found = [one for one in found if not kinds or one.kind in kinds]
    counts = f"profiles: {len(studies)} studies name {len(found)} people"
    account(state, Event("search", "", whom=f"pacs:{name}", what=counts))
    config, opened, registry = app.open_registry(state)
    known = Known(registry.profiles())
    with progress("profiles", len(found)) as step:
        outcomes = [_take(registry, known, one, dry_run, step) for one in found]
    if not dry_run:
        app.publish_access(state, config, opened)
    opened.dispose()
    if as_json:
        print_json(outcomes)
    elif outcomes:
        table(list(outcomes[0]), [[str(cell) for cell in one.values()] for one in outcomes])
    _conclude(outcomes, nameless, too_many)


def _conclude(outcomes: list[dict[str, Any]], nameless: int, too_many: list[str]) -> None:
    words = dict.fromkeys(one["outcome"] for one in outcomes)
    told = ", ".join(f"{sum(one['outcome'] == word for one in outcomes)} {word}" for word in words)
    click.echo(told or "nobody was found", err=True)
    if nameless:
        click.echo(f"mpacs-gateway: {nameless} studies state no PatientID: they are nobody's", err=True)
    refused = sum(one["outcome"] == "refused" for one in outcomes)
    if too_many:
        fail(f"there are more than {_MOST} studies in {', '.join(too_many)}: search by fewer days, or by modality")
    if refused:
        fail(f"{refused} of {len(outcomes)} are left out, for the reasons given; add them by `profile add`")


def _take(registry: Any, known: Any, one: Any, dry_run: bool, step: Any) -> dict[str, Any]:
    from gateway.management.registry import NotTaken

    outcome, why = known.let_in(one)
    if outcome == "new":
        try:
            registry.check_profile(one.kind, one.identifier, one.name, ())
            is_new = dry_run or registry.put_profile(one.kind, one.identifier, one.name, is_add=True)[1]
            outcome = "would be added" if dry_run else "added" if is_new else "known"
        except NotTaken as error:
            outcome, why = "refused", str(error)
    step()
    made = {"kind": one.kind, "id": one.identifier, "name": one.name, "studies": one.studies}
    return {**made, "outcome": outcome, "why": why}


# ── the search ────────────────────────────────────────────────────────────────────────────────────────────────────


def _search(state: Any, name: str, date: str, modality: str) -> tuple[list[dict[str, Any]], list[str]]:
    """The studies as DICOM JSON, each once; and the parts of the range of which the PACS has too many."""
    found: dict[str, dict[str, Any]] = {}
    too_many = []
    parts = _parts(date)
    with progress("parts of the range", len(parts)) as step:
        for part in parts:
            filters = {"StudyDate": part, "ModalitiesInStudy": modality}
            hits, is_cut = _find(state, name, "STUDY", {key: text for key, text in filters.items() if text})
            too_many += [part or "all"] * is_cut
            for hit in hits:
                if not modality or _shows(state, name, hit, modality):
                    found[_uid(hit)] = hit
            step()
    return list(found.values()), too_many


def _parts(date: str) -> list[str]:
    """A long range as several short ones: an answer has a limit, and whoever waits sees how far it is."""
    from gateway.middleware.pacs.query import days

    begin, end = days(date) if date else (None, None)
    end = end or dt.datetime.now().astimezone().date()
    if begin is None or end <= begin:
        return [date]
    length = max(_DAYS, -(-((end - begin).days + 1) // _PARTS))
    starts = range(0, (end - begin).days + 1, length)
    pairs = [(begin + dt.timedelta(n), min(end, begin + dt.timedelta(n + length - 1))) for n in starts]
    found = [f"{one:%Y%m%d}-{other:%Y%m%d}" if one != other else f"{one:%Y%m%d}" for one, other in pairs]
    if date.endswith("-"):
        found[-1] = f"{pairs[-1][0]:%Y%m%d}-"  # clocks differ: what is of tomorrow belongs to it
    return found


def _find(state: Any, name: str, level: str, filters: dict[str, str]) -> tuple[list[dict[str, Any]], bool]:
    from gateway.middleware.pacs.query import DOCTORS

    query = {"level": level, "filters": filters, "most": _MOST, "also": list(DOCTORS) if level == "STUDY" else []}
    answer = answer_of(state, {"op": "find", "query": query, "pacs": [name]})
    for away in answer["away"]:
        fail(f"{away['pacs']}: {away['reason']}")
    return [hit["attributes"] for hit in answer["hits"]], bool(answer["cut"])


def _shows(state: Any, name: str, study: dict[str, Any], modality: str) -> bool:
    """Not every PACS searches by a study's modalities, or says them: then its series do."""
    said = study.get(_MODALITIES, {}).get("Value")
    if said:
        return modality in said
    series, _ = _find(state, name, "SERIES", {"StudyInstanceUID": _uid(study)})
    return any(modality in (one.get(_MODALITY, {}).get("Value") or []) for one in series)


def _uid(study: dict[str, Any]) -> str:
    return str((study.get(_STUDY_UID, {}).get("Value") or [""])[0])
