"""``mpacs-gateway authority``: the certificate that a device installs, and the fingerprint that people compare."""

from pathlib import Path
from typing import Any

import click

from gateway.cli_support import json_option, print_json, state_option


@click.command()
@click.option("--to", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write it there, as PEM.")
@json_option
@state_option
def authority(state: Any, to: Path | None, as_json: bool) -> None:
    """Print the fingerprint of the gateway's own certificate authority, for the paper that a patient gets.

    Whoever installs the certificate from the console's page /install compares it.

    \b
    Example:
      mpacs-gateway authority --to authority.pem
    """
    from gateway import config as configuration
    from gateway.management import authority as own

    config = configuration.load(state.root)
    own.ensure(state.tls, config.host)
    page = f"{config.origin}/install"
    digest = own.fingerprint(state.tls)
    if to is not None:
        to.write_bytes(own.authority_pem(state.tls))
    if as_json:
        print_json({"sha256": digest, "page": page, "used": not config.https.certificate})
        return
    click.echo(f"SHA-256 {digest}\ninstall it from {page}")
    if config.https.certificate:
        click.echo("not needed for browsers: https.certificate is the hospital's")
