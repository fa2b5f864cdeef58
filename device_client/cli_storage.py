"""Options of ``run`` and ``display``: where received objects lie, and how much they may take."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_GB = 1_000_000_000


@dataclass(frozen=True)
class Chosen:
    """What the options say; None: as before."""

    path: str | None
    at_rest: Any
    quota_bytes: int | None

    def apply(self, state: Any) -> None:
        """Keep it in the state folder, before the store is opened."""
        state.choose_storage(self.path, self.at_rest, self.quota_bytes)
        if state.storage.at_rest == "plain":
            from device_client.plain import WARNING
            from device_client.store import storage

            folder = storage.root(state.folder, state.storage) / storage.PICTURES
            click.echo(f"mpacs-device: warning: {WARNING.format(folder=folder)}", err=True)


def options(command: Command) -> Command:
    """Add the options; ``taken`` makes a Chosen of them."""
    for option in (
        click.option("--quota-gb", type=click.FloatRange(min=0), metavar="GB", envvar="MPACS_QUOTA_GB",
                     help="Most that objects take on the disk; the oldest go first. 0: all but a reserve."),
        click.option("--at-rest", type=click.Choice(["sealed", "plain"]), envvar="MPACS_AT_REST",
                     help="plain: complete studies also as ordinary files, in the folder `pictures` of the store."),
        click.option("--store", "store_path", type=click.Path(path_type=Path, file_okay=False), metavar="PATH",
                     envvar="MPACS_STORE", help="Where objects lie, on a card or stick say [default: state folder]."),
    ):  # fmt: skip
        option(command)
    return command


def taken(given: dict[str, Any]) -> Chosen:
    """Take the options out of a command's arguments."""
    path, quota = given.pop("store_path"), given.pop("quota_gb")
    return Chosen(
        str(path.absolute()) if path else None, given.pop("at_rest"), None if quota is None else int(quota * _GB)
    )
