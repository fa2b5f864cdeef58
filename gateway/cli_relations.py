"""``mpacs-gateway profile attend|leave|import`` and ``release``: who has access from when to when."""

import csv
import datetime as dt
import io
import time
from pathlib import Path
from typing import Any

import click

from gateway.cli_newcomers import import_from_pacs
from gateway.cli_pacs_support import check_days
from gateway.cli_support import fail, json_option, local_time, print_json, state_option, table
from wire.names import check_kind

_ATTENDING = click.Choice(["doctor", "ward"])
_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"])


@click.command("attend")
@click.argument("kind", type=_ATTENDING)
@click.argument("identifier", metavar="ID")
@click.argument("patient", metavar="PATIENT_ID")
@click.option("--from", "begins", type=_WHEN, help="This machine's time; now unless given.")
@click.option("--until", "ends", type=_WHEN, help="This machine's time; until `leave` unless given.")
@state_option
def attend(
    state: Any, kind: str, identifier: str, patient: str, begins: dt.datetime | None, ends: dt.datetime | None
) -> None:
    """A doctor or ward attends a patient from when to when. PATIENT_ID is ID or ID^^^ISSUER.

    \b
    Example:
      mpacs-gateway profile attend doctor D-17 P-1001 --until 2026-12-01T18:00
    """
    from gateway import app
    from gateway.management.registry import NotTaken, Unknown

    config, opened, registry = app.open_registry(state)
    _, _, relations = app.open_relations(state)
    begin_s = begins.timestamp() if begins else time.time()
    try:
        term = relations.attend(
            registry.reference(check_kind(kind), identifier), patient, begin_s, ends.timestamp() if ends else None
        )
    except (NotTaken, Unknown) as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    until = f" until {local_time(term.ends)}" if term.ends is not None else ""
    click.echo(f"{kind} {identifier} attends {term.patient} from {local_time(term.begins)}{until}")


@click.command("leave")
@click.argument("kind", type=_ATTENDING)
@click.argument("identifier", metavar="ID")
@click.argument("patient", metavar="PATIENT_ID")
@state_option
def leave(state: Any, kind: str, identifier: str, patient: str) -> None:
    """A doctor or ward attends a patient no more, as after a transfer; what its devices received ends with the head.

    \b
    Example:
      mpacs-gateway profile leave doctor D-17 P-1001
    """
    from gateway import app
    from gateway.management.registry import NotTaken, Unknown

    config, opened, registry = app.open_registry(state)
    _, _, relations = app.open_relations(state)
    try:
        relations.leave(registry.reference(check_kind(kind), identifier), patient)
    except (NotTaken, Unknown) as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    click.echo(f"{kind} {identifier} attends {patient} no more")


@click.command("release")
@click.argument("studies", nargs=-1, required=True, metavar="STUDY...")
@click.option("--hold", is_flag=True, help="Hold them back again.")
@state_option
def release(state: Any, studies: tuple[str, ...], hold: bool) -> None:
    """Let patients have their studies, each by its StudyInstanceUID; exit 1 if one is not here.

    Unless the configuration has access.release otherwise, a patient's study is held back until this, or a doctor's
    word from a device.

    \b
    Example:
      mpacs-gateway release 1.2.840.113619.2.1
    """
    from gateway import app
    from gateway.management.registry import Unknown

    config, opened, relations = app.open_relations(state)
    unknown = 0
    for uid in studies:
        try:
            changed = relations.release(uid, hold)
        except Unknown as error:
            click.echo(f"mpacs-gateway: {uid}: {error}", err=True)
            unknown += 1
            continue
        word = "held back" if hold else "released"
        click.echo(f"{word} {uid}" if changed else f"{uid} was {word} already")
    app.publish_access(state, config, opened)
    if unknown:
        fail(f"{unknown} of {len(studies)} are not here; the others are done")


# ── CSV ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_FIELDS = ("kind", "id", "name", "issuer", "attends", "from", "until")
_MORE = "more"
"""Where cells of a row stand that have no column."""


@click.command("import")
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from-pacs", "pacs", metavar="NAME", help="In place of FILE: those whom studies of this PACS name.")
@click.option(
    "--date", default="", metavar="RANGE", callback=check_days, help="StudyDate: 20240131, 20240101-20240131."
)
@click.option("--modality", default="", metavar="M", help="Only of studies with this modality.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(["patient", "doctor"]), help="Only these; else both.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_option
@state_option
def import_profiles(
    state: Any,
    file: Path | None,
    pacs: str | None,
    date: str,
    modality: str,
    kinds: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Add or change profiles by a CSV file; exit 1 if a row was refused, the others are taken.

    Its first line names the columns: kind and id, and of name, issuer, attends, from, until what is wanted. A row with
    attends adds one patient (ID or ID^^^ISSUER, or *) to those whom the profile attends, for good or from when to when.
    UTF-8, or the code page 949 of Korean spreadsheets.

    With --from-pacs NAME and --date or --modality: adds the patients of the studies that the PACS finds, and their
    referring doctors and physicians of record. Profiles that are there stay as they are; nobody attends anybody by it.

    \b
    Example:
      mpacs-gateway profile import people.csv --dry-run
      mpacs-gateway profile import --from-pacs main --date 20261101- --modality CT --dry-run
    """
    if (file is None) == (pacs is None):
        raise click.UsageError("name a CSV file, or a PACS by --from-pacs")
    if file is None and pacs is not None:
        if not date and not modality:
            raise click.UsageError("--from-pacs goes with --date or --modality: not all that ever was is searched")
        import_from_pacs(state, pacs, date, modality.upper(), kinds, dry_run, as_json)
    elif file is not None:
        if date or modality or kinds:
            raise click.UsageError("--date, --modality and --kind go with --from-pacs")
        _import_file(state, file, dry_run, as_json)


def _import_file(state: Any, file: Path, dry_run: bool, as_json: bool) -> None:
    from gateway import app

    rows = _read(file)
    config, opened, registry = app.open_registry(state)
    _, _, relations = app.open_relations(state)
    outcomes = [_take(registry, relations, number, row, dry_run) for number, row in rows]
    if not dry_run:
        app.publish_access(state, config, opened)
    if as_json:
        print_json(outcomes)
    else:
        table(["line", "kind", "id", "outcome", "why"], [[str(one[c]) for c in one] for one in outcomes])
    refused = sum(one["outcome"] == "refused" for one in outcomes)
    if refused:
        fail(f"{refused} of {len(outcomes)} rows were refused; the others {'would be' if dry_run else 'are'} taken")


def _read(file: Path) -> list[tuple[int, dict[str, str]]]:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = data.decode("cp949")
        except UnicodeDecodeError:
            fail(f"{file} is neither UTF-8 nor code page 949: save it as CSV UTF-8")
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey=_MORE, restval="")
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    if not {"kind", "id"} <= set(columns) or not set(columns) <= set(_FIELDS):
        fail(f"the first line of {file} must name the columns kind and id, and others only of {', '.join(_FIELDS)}")
    reader.fieldnames = columns
    try:
        return [(reader.line_num, {k: v.strip() if k != _MORE else _MORE for k, v in row.items()}) for row in reader]
    except csv.Error as error:
        fail(f"{file}, line {reader.line_num}: this is no CSV ({error})")


def _take(registry: Any, relations: Any, line: int, row: dict[str, str], dry_run: bool) -> dict[str, Any]:
    from gateway.management.registry import NotTaken, Unknown
    from wire.errors import NameInvalid

    made = {"line": line, "kind": row["kind"], "id": row["id"], "outcome": "refused", "why": ""}
    try:
        if _MORE in row:
            raise ValueError("the row has more cells than there are columns: is a comma in a name without quotes?")
        kind = check_kind(row["kind"])
        issuer, attends = row.get("issuer", ""), row.get("attends", "")
        if issuer and kind != "patient":
            raise NotTaken("issuer is for patients; in attends write ID^^^ISSUER")
        identifier = f"{row['id']}^^^{issuer}" if issuer else row["id"]
        begins, ends = _time(row.get("from", "")), _time(row.get("until", ""))
        if (begins or ends) and not attends:
            raise NotTaken("from and until go with attends")
        if dry_run:
            registry.check_profile(kind, identifier, row.get("name", ""), (attends,) if attends else ())
            return {**made, "outcome": "would be taken"}
        known = registry.find(kind, identifier)
        held = known.attends if known is not None else ()
        for_good = attends and not (begins or ends)
        added = (*held, attends) if for_good else held
        _, is_new = registry.put_profile(kind, identifier, row.get("name") or None, added or None)
        if attends and not for_good:
            relations.attend(registry.reference(kind, identifier), attends, begins or time.time(), ends)
        return {**made, "outcome": "added" if is_new else "changed"}
    except (NotTaken, Unknown, NameInvalid, ValueError) as error:
        return {**made, "why": str(error)}


def _time(text: str) -> float | None:
    if not text:
        return None
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError("from and until are days or times as ISO 8601 writes them, such as 2026-12-01T18:00") from None
