"""``mpacs-gateway quarantine``: what was refused, what was kept apart, what could not be rendered."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from gateway.cli_support import fail, json_option, local_time, print_json, state_option, table

if TYPE_CHECKING:
    from gateway.management.quarantine import Item, Quarantine

_ID_CHARACTERS = 12
_ids = click.argument("ids", nargs=-1, metavar="[ID]...")
_all = click.option("--all", "every", is_flag=True, help="All of them.")


@click.group()
def quarantine() -> None:
    """Files and HL7 messages that were refused, instances that were kept apart or could not be rendered.

    \b
    Example:
      mpacs-gateway quarantine list
    """


@contextmanager
def _opened(state: Any) -> Iterator["Quarantine"]:
    from gateway import app
    from gateway.app_import import doorway

    config, opened, _ = app.open_registry(state)
    with doorway(state, opened) as (admission, entrance):
        from gateway.app_hl7 import open_desk
        from gateway.management.quarantine import Quarantine

        desk = open_desk(config.hl7, opened, entrance.wake)
        yield Quarantine(opened, admission, entrance.wake, desk.retry, app.operator())
    opened.dispose()


def _chosen(kept: "Quarantine", ids: tuple[str, ...], every: bool) -> list["Item"]:
    from gateway.management.quarantine import UnknownItemError

    if bool(ids) == every:
        raise click.UsageError("name them by their ids, or say --all")
    try:
        return kept.all() if every else [kept.find(one) for one in ids]
    except UnknownItemError as error:
        fail(str(error))


def _described(item: "Item") -> dict[str, Any]:
    return {
        "id": item.digest[:_ID_CHARACTERS],
        "what": item.what,
        "reason": item.reason,
        "detail": item.detail,
        "source": item.source,
        "at": local_time(item.at),
        "times": item.times,
        "size_bytes": item.size_bytes,
        "path": item.path,
    }


@quarantine.command("list")
@json_option
@state_option
def quarantine_list(state: Any, as_json: bool) -> None:
    """List them, the latest first; files lie below archive/ in the state folder, named by their digests.

    \b
    Example:
      mpacs-gateway quarantine list --json
    """
    with _opened(state) as kept:
        found = [_described(item) for item in kept.all()]
    if as_json:
        print_json(found)
        return
    columns = ["id", "what", "reason", "detail", "source", "at", "times", "path"]
    table(columns, [[str(row[column]) for column in columns] for row in found])


@quarantine.command("show")
@click.argument("id_", metavar="ID")
@click.option("--identity", is_flag=True, help="Also whose it says it is, and its UIDs; look who stands behind you.")
@json_option
@state_option
def quarantine_show(state: Any, id_: str, identity: bool, as_json: bool) -> None:
    """Show one: why it is here, what kind of file it is, what its header says, and what to do.

    ID may be the beginning of an id.

    \b
    Example:
      mpacs-gateway quarantine show 3fa94c
    """
    from gateway.middleware.intake import import_light

    with _opened(state) as kept:
        (item,) = _chosen(kept, (id_,), every=False)
        import_light()
        try:
            header = _header(kept, item, identity)
        except FileNotFoundError:
            header = {"unreadable": "its file is gone"}
        told = {**_described(item), **_told(kept, item)}
        layers = kept.layers(item)
    if as_json:
        print_json({**told, "layers": layers, "header": header})
        return
    states = {"layers": ", ".join(f"{layer}: {state}" for layer, state in layers.items())} if layers else {}
    table(["", ""], [[name, str(value)] for name, value in {**told, **states, **header}.items()])


def _told(kept: "Quarantine", item: "Item") -> dict[str, str]:
    """What kind of file it is, what its reason means, and what to do."""
    from gateway.management.quarantine_advice import advice, meaning
    from gateway.middleware.importing.kinds import kind_of

    kind = "hl7"
    if item.what != "HL7 message":
        try:
            kind = kind_of(kept.file(item)).value
        except OSError:
            kind = "gone"
    return {"kind": kind, "meaning": meaning(item), "advice": advice(item)}


def _header(kept: "Quarantine", item: "Item", identity: bool) -> dict[str, str]:
    """What a file's header says; of an HL7 message all of it, with ``identity``, for it is about somebody."""
    if item.what == "HL7 message":
        data = kept.message(item)
        return {"message": data.decode("utf-8", "backslashreplace").replace("\r", "\n")} if identity else {}
    from gateway.middleware.summary import summarise

    return summarise(kept.file(item), identity)


@quarantine.command("retry")
@_ids
@_all
@json_option
@state_option
def quarantine_retry(state: Any, ids: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Try them again: through the door, or in rendering. Exit 1 if one is refused again.

    After an update that reads more, or when the room that was lacking is there. One that was refused because it did
    not match its own C-STORE request is taken for what its header says.

    \b
    Example:
      mpacs-gateway quarantine retry 3fa94c
    """
    with _opened(state) as kept:
        found = [_retried(kept, item) for item in _chosen(kept, ids, every)]
    if as_json:
        print_json(found)
    else:
        table(["id", "what", "outcome", "why"], [[str(value) for value in row.values()] for row in found])
    sys.exit(1 if any(row["outcome"] in ("refused", "gone") for row in found) else 0)


def _retried(kept: "Quarantine", item: "Item") -> dict[str, Any]:
    """``outcome`` is new, known, kept apart, refused, gone, or queued: to be rendered by the gateway when it runs."""
    from gateway.middleware.refusal import Refusal

    names = {"new": "new", "same": "known", "twin": "known", "conflict": "kept apart"}
    try:
        result = kept.retry(item)
    except FileNotFoundError:
        outcome, why = "gone", "its file is not there any more: drop it"
    else:
        if result is None:
            outcome, why = "queued", "the gateway renders it again when it runs"
        elif isinstance(result, str):
            outcome, why = "refused" if result else "new", result
        elif isinstance(result, Refusal):
            outcome, why = "refused", result.detail
        else:
            outcome, why = names[result.outcome], ""
    return {"id": item.digest[:_ID_CHARACTERS], "what": item.what, "outcome": outcome, "why": why}


@quarantine.command("drop")
@_ids
@_all
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@state_option
def quarantine_drop(state: Any, ids: tuple[str, ...], every: bool, yes: bool, as_json: bool) -> None:
    """Delete them for ever; the senders still have them, perhaps.

    \b
    Example:
      mpacs-gateway quarantine drop 3fa94c 81b2 --yes
    """
    with _opened(state) as kept:
        chosen = _chosen(kept, ids, every)
        if chosen and not yes:
            size = sum(item.size_bytes for item in chosen)
            click.confirm(f"delete {len(chosen)} with {size} bytes for ever?", abort=True, err=True)
        for item in chosen:
            kept.drop(item)
    if as_json:
        print_json([{"id": item.digest[:_ID_CHARACTERS], "what": item.what, "outcome": "dropped"} for item in chosen])
    else:
        click.echo(f"dropped {len(chosen)}")
