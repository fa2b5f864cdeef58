"""``mpacs-gateway devices``, ``revoke`` and ``wipe``: who is enrolled, who waits, who is shut out."""

from typing import Any

import click

from gateway.cli_support import fail, json_option, local_time, print_json, printable, state_option, table


@click.group(invoke_without_command=True)
@json_option
@state_option
def devices(state: Any, as_json: bool) -> None:
    """List the enrolled devices, and those that wait to be confirmed.

    \b
    Example:
      mpacs-gateway devices --json
      mpacs-gateway devices confirm '5f0c 91aa 03d2 7e1b'
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    from gateway import app

    _, _, registry = app.open_registry(state)
    found = [*_waiting(registry), *_enrolled(registry)]
    if as_json:
        print_json(found)
    else:
        columns = ["device", "name", "recipient", "state", "fingerprint", "enrolled", "seen"]
        table(columns, [[str(row[c] or "") for c in columns] for row in found])


def _waiting(registry: Any) -> list[dict[str, Any]]:
    return [
        {
            "device": None,
            "name": one.name,
            "recipient": f"{kind}:{identifier}",
            "state": "waiting",
            "fingerprint": _grouped(one.fingerprint),
            "enrolled": None,
            "seen": local_time(one.asked_at),
            "revoked": None,
            "wiped": None,
        }
        for one, kind, identifier in registry.enrolments.waiting()
    ]


def _enrolled(registry: Any) -> list[dict[str, Any]]:
    from wire.sign import key_id

    wipes = registry.wipes()
    found = []
    for device, profile in registry.devices():
        wiping = wipes.get(device.device)
        state = "active" if device.revoked_at is None else "revoked"
        if wiping is not None:
            state = "to be wiped" if wiping.wiped_at is None else "wiped"
        found.append(
            {
                "device": device.device,
                "name": device.name,
                "recipient": f"{profile.kind}:{profile.identifier}",
                "state": state,
                "fingerprint": _grouped(key_id(device.sign_key).hex()),
                "enrolled": local_time(device.enrolled_at),
                "seen": local_time(device.seen_at),
                "revoked": local_time(device.revoked_at) if device.revoked_at else None,
                "wiped": local_time(wiping.wiped_at) if wiping is not None and wiping.wiped_at else None,
            }
        )
    return found


def _grouped(fingerprint: str) -> str:
    """As the device shows it."""
    return " ".join(fingerprint[at : at + 4] for at in range(0, len(fingerprint), 4))


@devices.command()
@click.argument("fingerprint", nargs=-1, required=True)
@state_option
def confirm(state: Any, fingerprint: tuple[str, ...]) -> None:
    """Let a device in that waits: FINGERPRINT is the one that the device itself shows, not one read from the list.

    Devices wait where the configuration has enrolment.confirm: operator.

    \b
    Example:
      mpacs-gateway devices confirm 5f0c 91aa 03d2 7e1b
    """
    _decide(state, fingerprint, is_right=True)


@devices.command()
@click.argument("fingerprint", nargs=-1, required=True)
@state_option
def reject(state: Any, fingerprint: tuple[str, ...]) -> None:
    """Turn a device away that waits; its link is good for nobody any more.

    \b
    Example:
      mpacs-gateway devices reject 5f0c 91aa 03d2 7e1b
    """
    _decide(state, fingerprint, is_right=False)


def _decide(state: Any, fingerprint: tuple[str, ...], is_right: bool) -> None:
    from gateway import app

    config, opened, registry = app.open_registry(state)
    one = registry.enrolments.decide("".join(fingerprint), is_right)
    if one is None:
        fail("no device waits with this fingerprint: compare all of it; `mpacs-gateway devices` shows who waits")
    app.publish_access(state, config, opened)
    click.echo(f"{'confirmed' if is_right else 'rejected'} {printable(one.name)}")


@click.command()
@click.argument("device")
@click.option("--yes", is_flag=True, help="Do not ask, where DEVICE is only the beginning of a reference.")
@state_option
def revoke(state: Any, device: str, yes: bool) -> None:
    """Shut a device out: its login and its keys end now, its lease is not renewed. DEVICE is its reference.

    Of a reference its beginning will do, if no other begins so. What it received stays readable on it until the lease
    ends (72 hours unless set); `wipe` has it erase all that when it comes the next time.

    \b
    Example:
      mpacs-gateway revoke mfzhe3dv
    """
    _shut_out(state, device, yes, "revoke")


@click.command()
@click.argument("device")
@click.option("--yes", is_flag=True, help="Do not ask, where DEVICE is only the beginning of a reference.")
@state_option
def wipe(state: Any, device: str, yes: bool) -> None:
    """Revoke a device and have it erase what it received and its keys, as soon as it connects. DEVICE is its reference.

    `devices` shows when it has said so. It is an order to our own software: what a thief copied before stays copied.

    \b
    Example:
      mpacs-gateway wipe mfzhe3dv
    """
    _shut_out(state, device, yes, "wipe")


def _shut_out(state: Any, device: str, yes: bool, what: str) -> None:
    from gateway import app
    from gateway.management.registry import Unknown

    config, opened, registry = app.open_registry(state)
    try:
        meant, profile = registry.device(device)
        if meant.device != device and not yes:
            whose = printable(f"{meant.name}, of {profile.kind} {profile.identifier}" if profile else meant.name)
            click.confirm(f"{what} {meant.device} ({whose})?", abort=True, err=True)
        found = registry.wipe(meant.device) if what == "wipe" else registry.revoke(meant.device)
    except Unknown as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    if what == "wipe":
        click.echo(f"revoked {found.device}; it is told to erase itself when it connects")
    else:
        click.echo(f"revoked {found.device}")
