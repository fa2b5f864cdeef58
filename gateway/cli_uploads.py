"""``mpacs-gateway uploads``: what devices sent, and whether the PACS has it."""

from typing import Any

import click

from gateway.cli_support import json_option, local_time, print_json, state_option, table


@click.command()
@click.option("--pending", is_flag=True, help="Only what the PACS does not have yet.")
@json_option
@state_option
def uploads(state: Any, pending: bool, as_json: bool) -> None:
    """List what devices sent for patients, the latest first.

    `kept`: it stays here alone, no PACS is set. `waiting`: it is to be sent; `sent`: the PACS took it, and is asked
    whether it keeps it; `confirmed`: it does. What is not confirmed is never evicted.

    Example: mpacs-gateway uploads --pending
    """
    from gateway import app
    from gateway.management.index import uploads as rows

    _, opened, _ = app.open_registry(state)
    with opened.connect() as connection:
        found = [_described(one) for one in rows.listed(connection) if one.is_pending or not pending]
    opened.dispose()
    if as_json:
        print_json(found)
        return
    columns = ["Stored", "State", "PACS", "Why not yet", "Device", "SOPInstanceUID"]
    keys = ("stored_at", "state", "pacs", "reason", "device", "SOPInstanceUID")
    table(columns, [[local_time(one[key]) if key == "stored_at" else str(one[key]) for key in keys] for one in found])


def _described(one: Any) -> dict[str, Any]:
    sent = "sent" if one.sent_at is not None else "waiting"
    state = "kept" if not one.pacs else "confirmed" if one.confirmed_at is not None else sent
    return {
        "StudyInstanceUID": one.StudyInstanceUID,
        "SOPInstanceUID": one.SOPInstanceUID,
        "device": one.device,
        "pacs": one.pacs,
        "state": state,
        "reason": one.reason,
        "stored_at": one.stored_at,
    }
