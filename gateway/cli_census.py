"""``mpacs-gateway admit|transfer|discharge`` and ``census``: who lies where, which says what a ward's displays show."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gateway.cli_support import fail, json_option, local_time, print_json, printable, progress, state_option, table

if TYPE_CHECKING:
    from gateway.management.index.movements import Inpatient
    from gateway.management.occupancy import Moved, Occupancy

_patient = click.argument("patient", metavar="PATIENT_ID")
_at = click.option("--at", default="", metavar="TIME", help="When it happened, as 2026-11-24T14:05; now unless set.")


@contextmanager
def _opened(state: Any) -> Iterator["Occupancy"]:
    from gateway import app
    from gateway.control import Client
    from gateway.management.occupancy import Occupancy

    _, opened, _ = app.open_registry(state)
    client = Client(state.socket)
    try:
        yield Occupancy(opened, client.wake, actor=app.operator())
    finally:
        client.close()
        opened.dispose()


def _told(
    state: Any, change: str, patient: str, at: str, as_json: bool, ward: str = "", bed: str = "", name: str = ""
) -> None:
    from gateway.management.registry import NotTaken
    from gateway.management.routing import split_patient
    from gateway.middleware.movement import Change, Movement

    when = _moment(at)
    now = time.time() if when is None else when
    movement = Movement(Change(change), *split_patient(patient), now, ward, bed, name, source="command")
    with _opened(state) as census:
        try:
            moved = census.take(movement, is_told=True)
        except NotTaken as error:
            fail(str(error))
    _say(patient, moved, as_json)


def _moment(at: str) -> float | None:
    from gateway.middleware.census_csv import moment

    try:
        return moment(at) if at else None
    except ValueError:
        raise click.UsageError("--at is a time such as 2026-11-24T14:05 or 2026-11-24T14:05+09:00") from None


def _say(patient: str, moved: "Moved", as_json: bool) -> None:
    where = {"ward": moved.after.ward, "bed": moved.after.bed}
    if as_json:
        print_json({"PatientID": patient, **where, "new": moved.is_new, "note": moved.note})
        return
    lies = f"lies in {_named(**where)}" if moved.after.ward else "lies in no ward"
    click.echo(f"{patient} {lies}" + ("" if moved.is_new else "; that was known"))
    if moved.note:
        click.echo(f"mpacs-gateway: {moved.note}", err=True)


def _named(ward: str, bed: str) -> str:
    return f"{ward}, bed {bed}" if bed else ward


@click.command()
@_patient
@click.option("--ward", required=True, help="The ward's identifier or name, as its profile has it.")
@click.option("--bed", default="", help="Such as 301-2.")
@click.option("--name", default="", help="The patient's, such as '김^민수'.")
@_at
@json_option
@state_option
def admit(state: Any, patient: str, ward: str, bed: str, name: str, at: str, as_json: bool) -> None:
    """A patient lies in a ward now: its displays show the patient's studies. PATIENT_ID is ID or ID^^^ISSUER.

    \b
    Example:
      mpacs-gateway admit P-1001 --ward W3 --bed 301-2
    """
    _told(state, "admit", patient, at, as_json, ward=ward, bed=bed, name=name)


@click.command()
@_patient
@click.option("--ward", required=True, help="Where to: the ward's identifier or name.")
@click.option("--bed", default="", help="Such as 301-2.")
@_at
@json_option
@state_option
def transfer(state: Any, patient: str, ward: str, bed: str, at: str, as_json: bool) -> None:
    """A patient moved to another ward or bed; the old ward's displays lose the studies at once.

    \b
    Example:
      mpacs-gateway transfer P-1001 --ward ICU --bed 4
    """
    _told(state, "transfer", patient, at, as_json, ward=ward, bed=bed)


@click.command()
@_patient
@_at
@json_option
@state_option
def discharge(state: Any, patient: str, at: str, as_json: bool) -> None:
    """A patient left: no ward's displays show the studies any more, but those of a ward that attends the patient.

    \b
    Example:
      mpacs-gateway discharge P-1001
    """
    _told(state, "discharge", patient, at, as_json)


@click.group()
def census() -> None:
    """Who lies where: by hand, from tables, or from HL7 messages.

    \b
    Example:
      mpacs-gateway census list --json
    """


def _show(found: list["Inpatient"], as_json: bool) -> None:
    from gateway.management.occupancy import as_rows

    rows = as_rows(found)
    for row in rows:
        for key in ("begins", "ends"):
            moment = row[key]
            row[key] = local_time(moment) if isinstance(moment, float) else None
    if as_json:
        print_json(rows)
        return
    columns = ["ward", "bed", "PatientID", "IssuerOfPatientID", "PatientName", "begins", "ends"]
    table(columns, [[str(row[column] or "") for column in columns] for row in rows])


@census.command("list")
@click.option("--ward", default="", help="Of this ward alone.")
@click.option("--at", default="", metavar="TIME", help="Who lay where then, as 2026-11-24T14:05, by what is known now.")
@json_option
@state_option
def census_list(state: Any, ward: str, at: str, as_json: bool) -> None:
    """List who lies where now, by ward and bed; and say of which wards no display hears.

    \b
    Example:
      mpacs-gateway census list --ward W3
    """
    when = _moment(at)
    with _opened(state) as kept:
        found = [one for one in kept.inpatients(when) if not ward or one.stay.ward.casefold() == ward.casefold()]
        unheard = kept.wards_without_profile({one.stay.ward for one in found})
    _show(found, as_json)
    if unheard:
        names = ", ".join(sorted(map(printable, unheard)))
        click.echo(f"mpacs-gateway: no ward profile has these names, so no display hears of them: {names}", err=True)


@census.command("history")
@_patient
@json_option
@state_option
def census_history(state: Any, patient: str, as_json: bool) -> None:
    """List the stays of one patient, the earliest first.

    \b
    Example:
      mpacs-gateway census history P-1001
    """
    from gateway.management.registry import NotTaken

    with _opened(state) as kept:
        try:
            found = kept.history(patient)
        except NotTaken as error:
            fail(str(error))
    _show(found, as_json)


@census.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--complete", is_flag=True, help="The table names all inpatients: whoever else lies somewhere has left.")
@click.option("--encoding", default="utf-8", show_default=True, help="Such as cp949 for Excel in Korea.")
@json_option
@state_option
def census_import(state: Any, file: Path, complete: bool, encoding: str, as_json: bool) -> None:
    """Take a table (CSV) of who lies where; exit 1 if a row was refused, the others are taken.

    Columns: PatientID, ward; as needed IssuerOfPatientID, PatientName, bed, change (admit, transfer or discharge;
    admit unless set) and at (when; now unless set). Rows that say what is known change nothing.

    \b
    Example:
      mpacs-gateway census import inpatients.csv --complete
    """
    from gateway.middleware.census_csv import MOST_BYTES, TableError, rows

    if file.stat().st_size > MOST_BYTES:
        fail(f"{file} is larger than {MOST_BYTES >> 20} MiB: cut the table")
    now = time.time()
    try:
        read = list(rows(file.read_bytes(), encoding, now))
    except TableError as error:
        fail(f"{file}: {error}")
    with _opened(state) as kept:
        outcomes = _taken(kept, read, now, complete)
    if as_json:
        print_json(outcomes)
    else:
        told = [one for one in outcomes if one["outcome"] == "refused" or one["note"]]
        columns = ["line", "outcome", "note"]
        if told:
            table(columns, [[str(one[column]) for column in columns] for one in told])
    counts = {word: sum(one["outcome"] == word for one in outcomes) for word in ("moved", "known", "left", "refused")}
    click.echo(", ".join(f"{count} {word}" for word, count in counts.items() if count) or "no rows", err=True)
    sys.exit(1 if counts["refused"] else 0)


def _taken(kept: "Occupancy", read: list[Any], now: float, complete: bool) -> list[dict[str, Any]]:
    """``{"line", "outcome", "note"}`` of each row, and of those who were not named, on line 0."""
    from gateway.management.registry import NotTaken
    from gateway.management.routing import canonical

    outcomes: list[dict[str, Any]] = []
    named: set[tuple[str, str]] = set()
    with progress("rows", len(read)) as step:
        for row in read:
            outcome, note = "refused", row.reason
            if row.movement is not None:
                named.add((canonical(row.movement.PatientID), canonical(row.movement.IssuerOfPatientID)))
                try:
                    moved = kept.take(row.movement)
                except NotTaken as error:
                    note = str(error)
                else:
                    outcome, note = "moved" if moved.is_new else "known", moved.note
            outcomes.append({"line": row.line, "outcome": outcome, "note": note})
            step()
    if complete and any(one["outcome"] == "refused" for one in outcomes):
        outcomes.append(
            {"line": 0, "outcome": "refused", "note": "nobody was discharged: a row was refused, and may name one"}
        )
    elif complete and named:
        outcomes += [{"line": 0, "outcome": "left", "note": ""} for _ in kept.complete(named, now, "csv")]
    return outcomes
