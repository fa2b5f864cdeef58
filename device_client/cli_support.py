"""What the commands of ``mpacs-device`` share: the state folder, the question to whoever owns it, JSON."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def _default_state() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "mpacs-device"


def state_option(command: Command) -> Command:
    """``--state`` after the subcommand as well as before it."""

    def keep(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            context.find_root().obj = value

    option = click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        expose_value=False,
        callback=keep,
        help="Folder of this device [default: $MPACS_STATE or ~/.local/state/mpacs-device].",
    )
    return option(command)


def folder() -> Path:
    """The state folder that was chosen."""
    chosen = click.get_current_context().find_root().obj
    return Path(chosen or os.environ.get("MPACS_STATE") or _default_state())


def say_if_shut_out() -> None:
    """On standard error, if the broker does not let this device in any more."""
    from device_client.shut_out import notice

    if said := notice(folder()):
        click.echo(said, err=True)


def ask(message: dict[str, Any], told: Callable[[dict[str, Any]], None] = lambda _message: None) -> Any:
    """Ask the process that owns the device, or do it here; DeviceError with what to do."""
    from device_client.service import request

    return request(folder(), message, told)


def print_json(value: Any) -> None:
    """With Hangul as it is."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1))


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
