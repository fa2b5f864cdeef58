"""``mpacs-gateway quarantine``: what was refused, and what was kept apart."""

from typing import Any

import click

from gateway.cli_support import json_option, local_time, print_json, state_option, table


@click.group()
def quarantine() -> None:
    """Instances that were refused, and instances that were kept apart from others.

    \b
    Example:
      mpacs-gateway quarantine list
    """


@quarantine.command("list")
@json_option
@state_option
def quarantine_list(state: Any, as_json: bool) -> None:
    """List them, the latest first; files lie below archive/ in the state folder, named by their digests.

    \b
    Example:
      mpacs-gateway quarantine list --json
    """
    from gateway import app
    from gateway.management.index import arrivals_quarantine, arrivals_read

    _, opened, _ = app.open_registry(state)
    with opened.connect() as connection:
        refused = [
            {
                "what": "refused",
                "reason": row.reason,
                "detail": row.detail,
                "source": row.source,
                "at": local_time(row.refused_at),
                "times": row.times,
                "path": row.path,
            }
            for row in arrivals_quarantine.list_quarantine(connection)
        ]
        apart = [
            {
                "what": "kept apart",
                "reason": f"conflict-{row.kind}",
                "detail": _CONFLICTS.get(row.kind, ""),
                "source": row.source,
                "at": local_time(row.seen_at),
                "times": 1,
                "path": row.path,
            }
            for row in arrivals_read.list_conflicts(connection)
        ]
    found = refused + apart
    if as_json:
        print_json(found)
        return
    columns = ["what", "reason", "detail", "source", "at", "times", "path"]
    table(columns, [[str(row[column]) for column in columns] for row in found])


_CONFLICTS = {
    "bytes": "other bytes under a SOPInstanceUID that is known; the first stays",
    "patient": "another patient under a StudyInstanceUID that is known; the first stays",
}
