"""``mpacs-device watch``: what happens, for scripts."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from device_client.cli_support import folder, state_option

_COMMAND_S = 60.0


@click.command()
@click.option("--exec", "command", metavar="COMMAND", help="Run COMMAND for each event, its JSON on standard input.")
@click.option("--event", "wanted", multiple=True, metavar="NAME", help="Only these events; may be repeated.")
@state_option
def watch(command: str | None, wanted: tuple[str, ...]) -> None:
    """Print what happens in the running process, one JSON line an event.

    With --exec a lamp or a pager can follow: COMMAND runs without a shell, one at a time, with the event's name in
    MPACS_EVENT and its JSON on standard input; one that fails is said and passed over. Events: watching, connected,
    disconnected, gateway, announced, progress, complete, gone, revoked, lease-ended, broken, no-room, evicted,
    refused.

    Example: mpacs-device watch --event complete --exec '/usr/local/bin/lamp on'
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        # Also where it was started in the background, which makes shells have SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    try:
        _watch(folder(), shlex.split(command) if command else [], set(wanted))
    except KeyboardInterrupt:
        return
    except ValueError as error:
        raise click.BadParameter(f"--exec: {error}") from None


def _watch(folder: Path, command: list[str], wanted: set[str]) -> None:
    from device_client.service import request

    def told(message: dict[str, Any]) -> None:
        event = message["event"]
        if wanted and event["event"] not in wanted:
            return
        line = json.dumps(event, ensure_ascii=False)
        click.echo(line)
        sys.stdout.flush()
        if command:
            _run(command, event["event"], line)

    request(folder, {"op": "watch"}, told)


def _run(command: list[str], name: str, line: str) -> None:
    environment = {**os.environ, "MPACS_EVENT": name}
    try:
        done = subprocess.run(
            command, input=line + "\n", text=True, env=environment, timeout=_COMMAND_S, stdout=sys.stderr, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"did not end within {_COMMAND_S:.0f} s" if not isinstance(error, OSError) else error.strerror
        click.echo(f"mpacs-device: {command[0]}: {reason}", err=True)
        return
    if done.returncode:
        click.echo(f"mpacs-device: {command[0]} ended with {done.returncode}", err=True)
