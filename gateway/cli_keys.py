"""``mpacs-gateway keys``: the gateway's own keys, and new ones in their place."""

from typing import Any

import click

from gateway.cli_support import fail, json_option, print_json, state_option, table


@click.group()
def keys() -> None:
    """The gateway's own keys, and new ones in their place.

    \b
    Example:
      mpacs-gateway keys show
      mpacs-gateway keys renew
    """


@keys.command()
@json_option
@state_option
def show(state: Any, as_json: bool) -> None:
    """Show the public keys: the root that devices trust, the one that signs, and how often the root was renewed.

    \b
    Example:
      mpacs-gateway keys show --json
    """
    from gateway import app

    found = app.public_keys(state)
    if as_json:
        print_json(found)
    else:
        table(["key", "value"], [[key, str(value)] for key, value in found.items()])


@keys.command()
@click.option("--root", is_flag=True, help="The root, too, as after its theft or once in some years.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
def renew(state: Any, root: bool, yes: bool) -> None:
    """Make new keys for signing and for requests. No device is enrolled anew: each follows when it connects.

    Everything that is announced is signed again, which takes the gateway a moment; it restarts its core by itself.
    Of a root that was stolen devices that connect to the thief first can be led astray: revoke those that may have.

    \b
    Example:
      mpacs-gateway keys renew --root
    """
    from gateway import app
    from gateway.management.vault import NoMoreRoots

    if not yes:
        click.confirm("replace the keys that sign" + (", and the root" if root else "") + "?", abort=True, err=True)
    try:
        app.renew_keys(state, root)
    except NoMoreRoots:
        fail("the root was renewed 63 times, and a device follows no longer chain: set up a new gateway")
    click.echo("renewed; devices follow when they connect")
