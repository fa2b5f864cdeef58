"""``mpacs-gateway``: exit 0 done, 1 refused or failed, 2 wrong usage."""

import asyncio
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from gateway.cli_audit import audit
from gateway.cli_authority import authority
from gateway.cli_census import admit, census, discharge, transfer
from gateway.cli_devices import devices, revoke, wipe
from gateway.cli_import import import_files
from gateway.cli_keys import keys
from gateway.cli_pacs import pacs
from gateway.cli_profile import profile
from gateway.cli_quarantine import quarantine
from gateway.cli_relations import attend, import_profiles, leave, release
from gateway.cli_support import fail, json_option, local_time, print_json, state_option, table
from gateway.cli_survey import survey
from gateway.cli_uploads import uploads
from gateway.config import Config, ConfigError, Dicom, Https, Mqtt
from gateway.config_check import is_loopback
from wire.errors import NameInvalid
from wire.names import Kind, check_kind, check_site


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--state", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="The state folder.")
def main(state: Path | None) -> None:
    """The edge gateway: takes studies in by DICOM and serves them, sealed, over MQTT.

    \b
    Example:
      mpacs-gateway init --site hospital-a
      mpacs-gateway profile add doctor D-17 --name 'Kim^Minsu' --attends '*'
      mpacs-gateway run
    """
    # A locale without Korean must cost a character, not the table.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a TextIOWrapper wherever a program starts


@main.command()
@click.option("--site", default="site", show_default=True, help="A short name of a-z, 0-9 and hyphens.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address under which devices reach it.")
@click.option("--dicom-port", type=click.IntRange(1, 65535), default=11112, show_default=True)
@click.option("--mqtt-port", type=click.IntRange(1, 65535), default=None, help="1883, or 8883 with TLS.")
@click.option("--https-port", type=click.IntRange(1, 65535), default=8443, show_default=True)
@state_option
def init(state: Any, site: str, host: str, dicom_port: int, mqtt_port: int | None, https_port: int) -> None:
    """Make the state folder: configuration and keys.

    With a loopback --host everything stays on this machine. With any other address devices connect by TLS, with a
    certificate of the gateway's own authority.

    \b
    Example:
      mpacs-gateway init --site hospital-a --host 192.0.2.10
    """
    from gateway import app

    check_site(site)
    local = is_loopback(host)
    config = Config(
        site=site,
        host=host,
        dicom=Dicom(host="127.0.0.1" if local else "0.0.0.0", port=dicom_port),  # noqa: S104  # modalities come by network
        mqtt=Mqtt(port=mqtt_port or (1883 if local else 8883)),
        https=Https(port=https_port),
    )
    app.init(state, config)
    folder = shlex.quote(str(state.root))
    click.echo(f"made {folder} for site {site}; next: mpacs-gateway --state {folder} run")


@main.command()
@state_option
def run(state: Any) -> None:
    """Run broker, intake and delivery until SIGTERM; prints one line when all are ready.

    \b
    Example:
      mpacs-gateway run --state /var/lib/mpacs
    """
    from gateway import app
    from gateway.supervisor import StartFailed

    app.set_up_log()
    try:
        held = app.lock(state)
    except FileNotFoundError:
        raise ConfigError(f"{state.root} is not there: run `mpacs-gateway init --state {state.root}` first") from None
    except app.AlreadyRunning as error:
        fail(str(error))
    try:
        asyncio.run(app.run(state))
    except StartFailed as error:
        fail(str(error))
    os.close(held)


@main.command()
@json_option
@state_option
def status(state: Any, as_json: bool) -> None:
    """Say how each part is; exit 0 only when all are healthy.

    \b
    Example:
      mpacs-gateway status && echo all is well
    """
    from gateway.app_status import probe

    parts = probe(state)
    if as_json:
        print_json(parts)
    else:
        table(["part", "healthy", "detail"], [[p["part"], "yes" if p["healthy"] else "NO", p["detail"]] for p in parts])
    sys.exit(0 if all(part["healthy"] for part in parts) else 1)


# ── devices ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _recipient(text: str) -> tuple[Kind, str]:
    kind, colon, identifier = text.partition(":")
    if not colon or not identifier:
        raise click.UsageError("name the recipient as patient:ID, doctor:ID or ward:ID")
    try:
        return check_kind(kind), identifier
    except NameInvalid as error:
        raise click.UsageError(str(error)) from None


@main.command()
@click.argument("recipient", metavar="patient:ID|doctor:ID|ward:ID")
@json_option
@state_option
def invite(state: Any, recipient: str, as_json: bool) -> None:
    """Print a one-time link, as text and QR, that enrols one device within ten minutes.

    \b
    Example:
      mpacs-gateway invite doctor:D-17
      mpacs-device enrol 'https://...'
    """
    from gateway import app
    from gateway.management.registry import NotTaken, Unknown

    kind, identifier = _recipient(recipient)
    config, opened, registry = app.open_registry(state)
    try:
        invitation = registry.invite(kind, identifier)
    except (Unknown, NotTaken) as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    if kind == "patient" and config.access.release != "automatic":
        click.echo("a patient's studies are held back until they are released: see `mpacs-gateway release`", err=True)
    if as_json:
        print_json({"uri": invitation.uri, "expires": local_time(invitation.expires_at)})
        return
    import segno

    segno.make(invitation.uri, error="l").terminal(compact=True)
    click.echo(f"{invitation.uri}\n\nfor one device of {kind} {identifier}, until {local_time(invitation.expires_at)}")


def _with_sharer(name: str, shares: list[dict[str, Any]]) -> str:
    """With who shared the study, and until when, where it was shared."""
    mine = [
        f"by {one['by']}{' until ' + one['until'] if one['until'] else ''}" for one in shares if one["with"] == name
    ]
    return f"{name} (shared {', '.join(mine)})" if mine else name


@main.command()
@json_option
@state_option
def studies(state: Any, as_json: bool) -> None:
    """List the studies that the gateway holds, and whom they are for.

    \b
    Example:
      mpacs-gateway studies --json
    """
    from gateway import app
    from gateway.app_status import list_studies

    _, opened, registry = app.open_registry(state)
    found = list_studies(opened, registry)
    if as_json:
        print_json(found)
        return
    columns = ["PatientID", "PatientName", "StudyInstanceUID", "NumberOfStudyRelatedInstances", "settled"]
    rows = [
        [str(row[c]) for c in columns[:-1]]
        + ["incomplete" if row["incomplete"] else str(row["settled"])]
        + [
            ", ".join(f"{layer} {made['frames']}" for layer, made in row["layers"].items()),
            ", ".join(
                [
                    *(_with_sharer(one, row["shares"]) for one in row["recipients"]),
                    *(["(held back from its patient)"] if not row["released"] else []),
                ]
            ),
        ]
        for row in found
    ]
    table(["PatientID", "PatientName", "study", "instances", "settled", "layers", "recipients"], rows)


main.add_command(audit)
main.add_command(authority)
main.add_command(import_files)
main.add_command(admit)
main.add_command(transfer)
main.add_command(discharge)
main.add_command(census)
main.add_command(devices)
main.add_command(revoke)
main.add_command(wipe)
main.add_command(keys)
main.add_command(pacs)
main.add_command(profile)
main.add_command(quarantine)
main.add_command(release)
main.add_command(survey)
main.add_command(uploads)

for one in (attend, leave, import_profiles):
    profile.add_command(one)

if __name__ == "__main__":
    main()
