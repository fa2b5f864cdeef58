"""``mpacs-device display``: the screen on a ward's wall."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from device_client import cli_storage
from device_client.cli_support import folder, state_option
from device_client.errors import DeviceError

_LANGUAGE = click.Choice(["ko", "en"])


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def convert(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return convert


def _hours(text: str) -> Any:
    from device_client.display.settings import Hours

    return Hours.parse(text)


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise ValueError("WIDTHxHEIGHT in pixels, such as 800x480")
    if not all(240 <= int(side) <= 8192 for side in (width, height)):
        raise ValueError("from 240 to 8192 pixels")
    return int(width), int(height)


def _env(name: str) -> str:
    return f"MPACS_DISPLAY_{name}"


_options = (
    click.option("--screenshot", "shot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                 help="Draw the screen once as PNG and end."),
    click.option("--size", callback=_parsed(_size), metavar="WxH", envvar=_env("SIZE"), show_envvar=True,
                 help="Size in pixels [default: the screen's; of a screenshot 1920x1080]."),
    click.option("--enrol-from", "link_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
                 envvar=_env("ENROL_FROM"), show_envvar=True,
                 help="Until enrolled, wait for an enrolment link in FILE, on a stick say."),
    click.option("--window", is_flag=True, help="In a window, not on the full screen; Q closes it."),
    click.option("--language", type=_LANGUAGE, default="ko", show_default=True, envvar=_env("LANGUAGE"),
                 show_envvar=True, help="What the screen speaks."),
    click.option("--blank-after", "blank_after_min", type=click.FloatRange(min=0.1), default=30.0, show_default=True,
                 envvar=_env("BLANK_AFTER"), show_envvar=True,
                 help="Minutes after which pictures that may not be current are hidden."),
    click.option("--dwell", "dwell_s", type=click.FloatRange(min=2), default=20.0, show_default=True,
                 envvar=_env("DWELL"), show_envvar=True, help="Seconds that a study stays large by itself."),
    click.option("--night", callback=_parsed(_hours), metavar="HH:MM-HH:MM", envvar=_env("NIGHT"), show_envvar=True,
                 help="Hours in which the screen is dimmed."),
    click.option("--night-level", type=click.FloatRange(0.05, 1.0), default=0.35, show_default=True,
                 envvar=_env("NIGHT_LEVEL"), show_envvar=True, help="How bright it is then; 1 is full."),
    click.option("--off", callback=_parsed(_hours), metavar="HH:MM-HH:MM", envvar=_env("OFF"), show_envvar=True,
                 help="Hours in which the screen is black."),
)  # fmt: skip


def _all_options(command: Any) -> Any:
    for option in reversed(_options):
        option(command)
    return cli_storage.options(command)


@click.command()
@_all_options
@state_option
def display(
    shot: Path | None, size: tuple[int, int] | None, window: bool, link_file: Path | None, **given: Any
) -> None:
    """Show the ward's current studies on the full screen, and receive them.

    Needs no desktop and no input: studies are shown in turn, critical and new ones first. Arrow keys, space,
    a touch or the wheel choose study and picture. When the gateway is silent the screen says so, and hides
    pictures after --blank-after. Where `mpacs-device run` receives already, the display asks it.

    Example: mpacs-device display --night 21:00-06:30 --blank-after 15
    """
    chosen = cli_storage.taken(given)
    settings = _settings(**given)
    if shot is not None:
        _screenshot(folder(), settings, size or (1920, 1080), shot)
    else:
        _run(folder(), settings, size, window, link_file, chosen)


def _settings(blank_after_min: float, **given: Any) -> Any:
    from device_client.display.settings import Settings

    return Settings(blank_after_s=blank_after_min * 60, **given)


def _need_display() -> None:
    from importlib.util import find_spec

    if not all(map(find_spec, ("PIL", "pygame", "pylopdf_fonts_ko"))):
        raise DeviceError("the display is not installed: pip install 'mpacs-edge[display]'")


def _screenshot(folder: Path, settings: Any, size: tuple[int, int], to: Path) -> None:
    _need_display()
    from device_client.display.main import screenshot

    screenshot(folder, settings, size, to)


def _run(
    folder: Path,
    settings: Any,
    size: tuple[int, int] | None,
    window: bool,
    link_file: Path | None,
    chosen: cli_storage.Chosen,
) -> None:
    import asyncio

    _need_display()
    from device_client.agent import Options
    from device_client.display.main import LAYERS, Display, run
    from device_client.display.window import Window
    from device_client.watchdog import Watchdog

    watchdog, said = Watchdog(), False

    def alive(shows_picture: bool) -> None:
        nonlocal said
        watchdog.alive()
        if shows_picture and not said:
            said = True
            click.echo("showing")
            sys.stdout.flush()

    screen = Window(size, full_screen=not window)
    try:
        asyncio.run(run(Display(folder, settings, screen, Options(LAYERS), alive, link_file, chosen.apply)))
    finally:
        screen.close()
