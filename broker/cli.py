"""``mpacs-broker``: exit 0 done, 1 refused or failed, 2 wrong usage or configuration."""

import asyncio
import json
import sys
from pathlib import Path

import click

from broker.errors import BrokerFailure, ConfigInvalid


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The embedded MQTT broker. It routes ciphertext and cannot decrypt.

    \b
    Example:
      mpacs-broker run --config /etc/mpacs/broker.yaml
    """


@main.command()
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The configuration (YAML).")
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    envvar="MPACS_STATE",
    metavar="DIR",
    help="The state folder; without --config its broker.yaml is used.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the ready line as JSON.")
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one ends.")
def run(config: Path | None, state: Path | None, as_json: bool, die_with_parent: bool) -> None:
    """Run the broker until SIGTERM; prints one line when ready.

    \b
    Example:
      mpacs-broker run --config /etc/mpacs/broker.yaml --json
      {"ready": true, "listeners": {"tcp": {"host": "127.0.0.1", "port": 1883}}}
    """
    if config is None:
        if state is None:
            raise click.UsageError("name the configuration with --config or the state folder with --state")
        config = state / "broker.yaml"
    # Late, so that --help is quick and the parent's death is watched from the start.
    from broker import process

    try:
        if die_with_parent:
            process.die_with_parent()
        asyncio.run(_run(config, as_json))
    except ConfigInvalid as error:
        _fail(f"{config}: {error}", 2)
    except BrokerFailure as error:
        _fail(str(error), 1)


async def _run(config: Path, as_json: bool) -> None:
    from amqtt.errors import BrokerError

    from broker import logs, process
    from broker.config import load
    from broker.server import HardenedBroker

    settings = load(config)
    logs.set_up()
    process.allow_descriptors(settings.limits.connections)
    broker = HardenedBroker(settings)
    stop = process.stop_request()
    try:
        await broker.start()
    except BrokerError as error:
        # amqtt wraps whatever a listener raised.
        raise error.__cause__ if isinstance(error.__cause__, BrokerFailure) else BrokerFailure(str(error)) from None
    _announce(broker.addresses, as_json)
    await stop.wait()
    await broker.shutdown()


def _announce(addresses: dict[str, tuple[str, int]], as_json: bool) -> None:
    if as_json:
        listeners = {name: {"host": host, "port": port} for name, (host, port) in addresses.items()}
        line = json.dumps({"ready": True, "listeners": listeners})
    else:
        line = "ready: " + ", ".join(f"{name} {host} port {port}" for name, (host, port) in addresses.items())
    print(line, flush=True)


def _fail(text: str, code: int) -> None:
    print(f"mpacs-broker: {text}", file=sys.stderr)
    sys.exit(code)
