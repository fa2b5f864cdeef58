"""What the commands share: the state folder's option, errors in one line, tables and JSON."""

import datetime as dt
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from gateway.config import ConfigError
from wire.errors import NameInvalid

_T = TypeVar("_T")

_DEFAULT_STATE = Path("mpacs-gateway-state")
_PIPED_WIDTH = 240


def fail(text: str, code: int = 1) -> NoReturn:
    """Say why on standard error and end."""
    click.echo(f"mpacs-gateway: {text}", err=True)
    sys.exit(code)


def state_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--state`` stands before or after the command; the latter wins, and both win over MPACS_STATE."""

    @click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help=f"The state folder (or MPACS_STATE); {_DEFAULT_STATE} unless set.",
    )
    @click.pass_context
    @wraps(function)
    def wrapper(context: click.Context, state: Path | None, *args: Any, **kwargs: Any) -> Any:
        from gateway.app import State

        chosen = state or context.find_root().params.get("state") or os.environ.get("MPACS_STATE") or _DEFAULT_STATE
        with _told_errors():
            return function(State(Path(chosen)), *args, **kwargs)

    return wrapper


@contextmanager
def _told_errors() -> Iterator[None]:
    """What can go wrong from outside ends in one line that says what to do; its own text never holds data."""
    try:
        yield
    except (ConfigError, NameInvalid) as error:
        fail(str(error))
    except PermissionError as error:
        fail(f"{error.filename or 'a file'} cannot be used: run this as the user that owns the state folder")
    except FileNotFoundError as error:
        fail(f"{error.filename or 'a file'} is missing: the state folder is not whole, restore it from a copy")
    except BrokenPipeError:
        raise  # click ends quietly where the reader of a pipe left
    except OSError as error:
        fail(f"{error.filename or 'the state folder'} cannot be used: {error.strerror or type(error).__name__}")
    except Exception as error:
        # SQLAlchemy is not imported for its exceptions alone: --help is to be quick.
        if type(error).__module__ != "sqlalchemy.exc":
            raise
        fail("the index cannot be used: is its disk full, its file damaged, or its database away?")


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def printable(text: str) -> str:
    """Names come from strangers' headers, which must not reach a terminal with its control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; whole, where it goes to a file."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    made = Table(*columns)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))  # Text: no markup either
    console = Console()
    if not console.is_terminal:
        console.width = _PIPED_WIDTH  # a file or a pipe has no edge: nothing is cut
    console.print(made)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error where that is a terminal; call what it gives for each that is done."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def measured(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where that is a terminal; call what it gives with how many are done of how many."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def counted(items: Iterable[_T], what: str) -> Iterator[_T]:
    """The same items, while a bar on standard error says how many there were; nothing where nobody looks."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn(what), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        for item in items:
            bar.advance(task)
            yield item


def print_json(value: Any) -> None:
    """As UTF-8 whatever the locale says, so that Hangul comes out of a service's shell too."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "replace"))


def local_time(seconds: float) -> str:
    """POSIX seconds as ISO 8601 in this machine's time zone."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).astimezone().isoformat(timespec="seconds")
