"""The command line ``mpacs-device``."""

import asyncio
import json
import logging
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click

from device_client import cli_asks, cli_display, cli_storage, cli_watch
from device_client.cli_support import ask, folder, print_json, say_if_shut_out, state_option
from device_client.errors import Busy, DeviceError
from wire.messages import Layer

LAYERS = get_args(Layer)
_START_S = 2.0


class _Group(click.Group):
    """Turns the device's errors into one line on standard error and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeviceError as error:
            click.echo(f"mpacs-device: {error}", err=True)
            ctx.exit(1)
        except OSError as error:
            click.echo(f"mpacs-device: {error.filename or 'the system'}: {error.strerror}", err=True)
            ctx.exit(1)


@click.group(cls=_Group)
@state_option
def main() -> None:
    """A device beside a gateway: receives studies, verifies and keeps them, shows and exports them.

    Example: mpacs-device enrol 'https://gateway.example/#enrol=...' && mpacs-device run --once
    """
    # A locale without Korean must cost a character, not the table.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a TextIOWrapper wherever a program starts
    logging.basicConfig(format="mpacs-device: %(message)s", level=logging.WARNING, stream=sys.stderr)


@main.command()
@click.argument("uri", required=False)
@click.option(
    "--from",
    "link_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Take the link from a file.",
)
@click.option("--name", default=platform.node() or "device", help="What operators call this device.")
@click.option("--replace", is_flag=True, help="Forget an earlier enrolment and all that it received.")
@click.option(
    "--timeout", "timeout_s", type=float, help="Seconds to wait for the gateway [default: till the link ends]."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@state_option
def enrol(
    uri: str | None, link_file: Path | None, name: str, replace: bool, timeout_s: float | None, as_json: bool
) -> None:
    """Enrol this device with the one-time link URI, or with the one that stands in a file.

    Example: mpacs-device enrol 'https://gateway.example/#enrol=...' --name 'Ward 3'
    """
    from device_client.enrol import enrol as enrol_device
    from device_client.stick import link_in

    if (uri is None) == (link_file is None):
        raise click.UsageError("give the link, or --from FILE with a file that holds it")
    link = uri if link_file is None else link_in(link_file)

    def tell(text: str) -> None:
        click.echo(text, err=True)

    identity = asyncio.run(enrol_device(folder(), link or "", name[:128] or "device", timeout_s, tell, replace))
    kinds = [reader.kind for reader in identity.recipients]
    if as_json:
        click.echo(json.dumps({"device": identity.device, "site": identity.site, "recipients": kinds}))
    else:
        click.echo(f"enrolled as {identity.device} at {identity.site}, for {', '.join(kinds)}")


@main.command()
@click.option("--once", is_flag=True, help="Return when all that is announced is complete.")
@click.option("--layer", "layers", multiple=True, type=click.Choice(LAYERS), help="Layer to receive; may be repeated.")
@click.option("--timeout", "timeout_s", default=60.0, show_default=True, help="With --once: seconds without progress.")
@cli_storage.options
@state_option
def run(once: bool, layers: tuple[str, ...], timeout_s: float, **given: Any) -> None:
    """Receive until ended, or with --once until everything is here.

    Thumbnails, reports and display pictures come by themselves. --layer adds others to them; naming one of those three
    takes the named ones alone.

    Example: mpacs-device run --once --layer diagnostic
    """
    from device_client.agent import Options
    from device_client.layers import DEFAULT_LAYERS

    order = {layer: position for position, layer in enumerate(dict.fromkeys((*DEFAULT_LAYERS, *LAYERS)))}
    named = set(layers) if set(layers) & set(DEFAULT_LAYERS) else {*layers, *DEFAULT_LAYERS}
    chosen = tuple(sorted(named, key=order.__getitem__))
    asyncio.run(_run(folder(), Options(chosen, once, timeout_s), cli_storage.taken(given)))


async def _run(folder: Path, options: Any, storage: cli_storage.Chosen) -> None:
    from device_client.agent import Agent
    from device_client.companions import beside
    from device_client.control import ControlServer
    from device_client.events import Events
    from device_client.lines import Lines
    from device_client.progress import ReceiveBar
    from device_client.service import Service
    from device_client.watchdog import Watchdog

    state = await _own(folder)
    events = Events()
    bar = ReceiveBar() if options.once and sys.stderr.isatty() else None
    if bar:
        events.listen(bar.take)
    events.listen(Lines(problems_only=bar is not None).take)
    try:
        storage.apply(state)
        agent = Agent(state, options, events)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.stopping.set)
        server = ControlServer(folder, Service(agent).handle)
        await server.start()
        if bar:
            bar.start()
        try:
            async with beside(agent, Watchdog()):
                await agent.run()
        finally:
            if bar:
                bar.stop()
            await server.close()
    finally:
        state.close()


async def _own(folder: Path) -> Any:
    """The state folder; another command may have it for a moment."""
    from device_client.store.state import State

    deadline = time.monotonic() + _START_S
    while True:
        try:
            return State(folder)
        except Busy:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.05)


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@state_option
def studies(as_json: bool) -> None:
    """List the studies that are here.

    Example: mpacs-device studies --json
    """
    found = ask({"op": "studies"})
    say_if_shut_out()
    if as_json:
        print_json(found)
        return
    from device_client.progress import studies_table

    studies_table(found)


@main.command()
@click.argument("study")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all attributes, pictures and reports.")
@state_option
def show(study: str, as_json: bool) -> None:
    """Show one study and its reports: STUDY is its StudyInstanceUID, its opaque reference, or how one of them begins.

    Example: mpacs-device show 1.2.840 --json
    """
    found = ask({"op": "show", "study": study})
    say_if_shut_out()
    if as_json:
        print_json(found)
        return
    from device_client.progress import study_reports, study_tables

    study_tables(found)
    study_reports(found)


@main.command()
@click.argument("study")
@click.option("--to", "to", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder to write to.")
@click.option("--layer", default="display", show_default=True, type=click.Choice(LAYERS), help="Layer to write.")
@click.option("--frame", type=click.IntRange(min=1), help="Only this frame of each instance; counts from 1.")
@click.option("--level", default=0, type=click.IntRange(0, 32), help="Of diagnostic: frames halved so often.")
@click.option("--partial", is_flag=True, help="Write what is here of a layer that is not complete.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
@state_option
def export(study: str, to: Path, layer: str, frame: int | None, level: int, partial: bool, as_json: bool) -> None:
    """Write pictures and attributes of STUDY as files; of --layer report its text, HTML and PDF, and a PDF's
    first page as a small picture.

    Of --layer diagnostic every bit is written: PNG of 16 bits, or NPY where PNG has no form; what was added to stored
    values stands as `offset` in series.diagnostic.json. Levels from 2 on need the layer's first band alone. Frames of
    lossy sources stay as they were coded, but JPEG of 12 bits and JPEG-LS, which few programs open, become PNG of their
    values; the DICOM files themselves are --layer original.

    Example: mpacs-device export 1.2.840 --to ./out --layer display
    """
    told: Callable[[dict[str, Any]], None] = lambda _message: None  # noqa: E731 - the quiet one of two
    if sys.stderr.isatty():
        from device_client.progress import ExportBar

        bar = ExportBar()
        told = lambda message: bar.take(*message["progress"])  # noqa: E731 - the drawing one of two
    message = {"op": "export", "study": study, "to": str(to.absolute()), "layer": layer, "frame": frame}
    written = ask({**message, "level": level, "partial": partial}, told)
    if as_json:
        print_json(written)
        return
    click.echo(f"{written['pictures']} of layer {layer} written to {written['to']}")
    if written["missing"]:
        click.echo(f"{written['missing']} are not here yet", err=True)


@main.command("request")
@click.argument("study")
@click.option(
    "--layer", type=click.Choice(LAYERS), help="Layer to be made of a study that is here [default: original]."
)
@click.option("--fetch", is_flag=True, help="Have the gateway look for it in the PACS, also where it is here.")
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@state_option
def request_(study: str, layer: str | None, fetch: bool, as_json: bool) -> None:
    """Have the gateway fetch STUDY, or make a layer of it.

    A STUDY that is not here is named by its StudyInstanceUID: the gateway brings it from the PACS, and it comes with
    `mpacs-device run`. Of one that is here a layer is made that the gateway does not offer by itself: `original` are
    the DICOM files as it received them. Without a running process that order is sent by the next `mpacs-device run`.

    Example: mpacs-device request 1.2.840 && mpacs-device run --once
    """
    if fetch or (layer is None and not ask({"op": "held", "study": study})):
        cli_asks.retrieve(study, as_json)
        return
    layer = layer or "original"
    outcome = ask({"op": "wish", "study": study, "layer": layer})
    outcome.pop("references")
    if as_json:
        print_json(outcome)
        return
    meaning = {
        "ordered": "is ordered: it comes when the gateway has made what is not there yet",
        "queued": "will be ordered by `mpacs-device run`, once the gateway is reached and has what the study lacks",
    }
    click.echo(f"layer {layer} {meaning[outcome['state']]}")


for command in (*cli_asks.COMMANDS, cli_display.display, cli_watch.watch):
    main.add_command(command)
