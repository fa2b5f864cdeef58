"""``mpacs-gateway audit``: who did what, and proof that the trail was not changed."""

import datetime as dt
import itertools
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import click

from gateway.cli_support import fail, json_option, local_time, print_json, state_option, table

_COLUMNS = ["event", "outcome", "who", "device", "whom", "patient", "study", "what", "reason"]


@click.group()
def audit() -> None:
    """The audit trail: who did what, and proof that it was not changed.

    \b
    Example:
      mpacs-gateway audit show --patient P-1001
      mpacs-gateway audit verify
    """


def _known(_context: click.Context, _parameter: click.Parameter, event: str | None) -> str | None:
    from gateway.audit import Kind

    if event is not None and event not in get_args(Kind):
        raise click.BadParameter(f"no such kind; there are {', '.join(sorted(get_args(Kind)))}")
    return event


@audit.command()
@click.option("--patient", help="Only what concerns this PatientID.")
@click.option("--study", help="Only what concerns this StudyInstanceUID.")
@click.option("--who", help="Only what this one did, such as doctor:D-17, or was done to it.")
@click.option("--event", metavar="KIND", callback=_known, help="Only this kind, such as break-glass.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="The latest so many.")
@json_option
@state_option
def show(
    state: Any, patient: str | None, study: str | None, who: str | None, event: str | None, limit: int, as_json: bool
) -> None:
    """List entries, the latest first.

    \b
    Example:
      mpacs-gateway audit show --event break-glass
    """
    from gateway import app
    from gateway.management.index import trail

    def fits(found: dict[str, str]) -> bool:
        return (
            (patient is None or found.get("patient") == patient)
            and (study is None or found.get("study") == study)
            and (who is None or who in (found.get("who"), found.get("whom")))
            and (event is None or found["event"] == event)
        )

    _, opened, _ = app.open_registry(state)
    with opened.connect() as connection:
        latest = ((entry, entry.event) for entry in trail.latest_first(connection))
        chosen = list(islice(((entry, found) for entry, found in latest if fits(found)), limit))
    if as_json:
        print_json([{"sequence": e.sequence, "at": local_time(e.at_ms / 1000), **found} for e, found in chosen])
        return
    rows = [[str(e.sequence), local_time(e.at_ms / 1000), *(found.get(c, "") for c in _COLUMNS)] for e, found in chosen]
    table(["no.", "at", *_COLUMNS], rows)


@audit.command()
@click.option(
    "--to", "to", type=click.Path(path_type=Path, dir_okay=False), help="A new file; standard output if none."
)
@click.option("--form", type=click.Choice(["xml", "json"]), default="xml", show_default=True)
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="From this day on (this machine's time).")
@state_option
def export(state: Any, to: Path | None, form: str, since: dt.datetime | None) -> None:
    """Write all entries, a line each: as messages of DICOM PS3.15 section A.5 (XML), or as JSON with their links.

    That it was exported is an entry of the trail, too.

    \b
    Example:
      mpacs-gateway audit export --to audit-2026.xml
    """
    from gateway import app
    from gateway.audit import Event
    from gateway.management.index import trail

    config, opened, _ = app.open_registry(state)
    if to is not None and not to.parent.is_dir():
        fail(f"{to.parent} is no folder: make it first")
    if to is not None and to.exists():
        fail(f"{to} is there already: choose a new file")
    with opened.begin() as connection:
        trail.record(connection, Event("audit-used", app.operator(), what="export"))
    from_ms = int(since.timestamp() * 1000) if since else 0
    file = to.open("x", encoding="utf-8") if to is not None else sys.stdout
    count = 0
    with opened.connect() as connection:
        for line in _lines(trail.oldest_first(connection), form, from_ms, config.site):
            file.write(line + "\n")
            count += 1
    if to is not None:
        file.close()
        click.echo(f"{count} entries written to {to}")


def _lines(entries: Iterator[Any], form: str, from_ms: int, site: str) -> Iterator[str]:
    from gateway.audit import message

    for entry in entries:
        if entry.at_ms < from_ms:
            continue
        if form == "xml":
            yield message(entry.event, entry.at_ms, site)
        else:
            plain = {"sequence": entry.sequence, "at_ms": entry.at_ms, "link": entry.link.hex()}
            yield json.dumps({**plain, **entry.event}, ensure_ascii=False)


@audit.command()
@click.option(
    "--against",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A copy of audit/anchors.jsonl that was kept elsewhere.",
)
@click.option(
    "--pruned",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A file that `audit prune` wrote; may be repeated, the oldest first.",
)
@json_option
@state_option
def verify(state: Any, against: Path | None, pruned: tuple[Path, ...], as_json: bool) -> None:
    """Prove that no entry was deleted, changed, added in between or cut off; exit 1 and say where if one was.

    A trail that was pruned begins with what its checkpoint says; with --pruned what was moved away is proved, too.

    \b
    Example:
      mpacs-gateway audit verify --against /mnt/elsewhere/anchors.jsonl
    """
    from gateway import app
    from gateway.management import pruning
    from gateway.management.index import trail

    config, opened, _ = app.open_registry(state)
    anchors = app.open_anchors(state, config)
    moved = itertools.chain.from_iterable(pruning.pruned(path) for path in pruned)
    try:
        with opened.connect() as connection:
            first = next(moved, None)
            faults = anchors.verify(connection, against, itertools.chain([first] if first else [], moved))
            standing = trail.standing(connection)
            first = first or next(trail.oldest_first(connection), None)
    except ValueError as error:
        fail(str(error))
    if as_json:
        print_json(
            {
                "whole": not faults,
                "entries": standing.sequence,
                "from": first.sequence if first else 1,
                "link": standing.link.hex(),
                "faults": [{"sequence": fault.sequence, "what": fault.what} for fault in faults],
            }
        )
    elif faults:
        for fault in faults:
            click.echo(fault.what, err=True)
        click.echo(f"mpacs-gateway: the trail is not whole: {len(faults)} faults", err=True)
    else:
        since = (
            f" from entry {first.sequence} on; the files of what was pruned before it prove the rest"
            if first and first.sequence > 1
            else ""
        )
        click.echo(f"the trail is whole{since}: {standing.sequence} entries, the last link is {standing.link.hex()}")
    if faults:
        sys.exit(1)


@audit.command()
@click.option("--before", required=True, type=click.DateTime(["%Y-%m-%d"]), help="This day (this machine's time).")
@click.option("--to", "to", required=True, type=click.Path(path_type=Path, dir_okay=False), help="A new file.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
def prune(state: Any, before: dt.datetime, to: Path, yes: bool) -> None:
    """Move entries from before a day into a file: keep that as long as the law says. What is left verifies as before.

    A signed checkpoint says where the trail begins from then on. That it was pruned is an entry of the trail, too.

    \b
    Example:
      mpacs-gateway audit prune --before 2026-01-01 --to /srv/audit/2025.jsonl
    """
    from gateway import app
    from gateway.management.pruning import NotPrunedError
    from gateway.management.pruning import prune as move

    if not to.parent.is_dir():
        fail(f"{to.parent} is no folder: make it first")
    if to.exists():
        fail(f"{to} is there already: choose a new file")
    if not yes:
        click.confirm(f"move all entries from before {before:%Y-%m-%d} to {to}?", abort=True, err=True)
    config, opened, _ = app.open_registry(state)
    try:
        count = move(opened, app.open_anchors(state, config), int(before.timestamp() * 1000), to, app.operator())
    except NotPrunedError as error:
        fail(str(error))
    click.echo(f"{count} entries moved to {to}; prove them by `mpacs-gateway audit verify --pruned {to}`")
