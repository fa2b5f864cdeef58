"""``mpacs-gateway profile``: patients, doctors and wards that studies are for."""

from typing import Any

import click

from gateway.cli_support import fail, json_option, local_time, print_json, printable, state_option, table
from wire.names import check_kind

_KIND = click.Choice(["patient", "doctor", "ward"])


@click.group()
def profile() -> None:
    """Patients, doctors and wards that studies are for.

    \b
    Example:
      mpacs-gateway profile add ward W3 --name 'Ward 3' --attends P-1001
    """


@profile.command("add")
@click.argument("kind", type=_KIND)
@click.argument("identifier", metavar="ID")
@click.option("--name", help="As the header spells it, such as 'Kim^Minsu'.")
@click.option("--issuer", default="", help="IssuerOfPatientID of a patient; the same as ID^^^ISSUER.")
@click.option("--attends", multiple=True, metavar="PATIENT_ID", help="ID or ID^^^ISSUER; may be repeated; '*': all.")
@click.option("--attends-nobody", is_flag=True, help="Take away all whom it attended.")
@json_option
@state_option
def profile_add(
    state: Any,
    kind: str,
    identifier: str,
    name: str | None,
    issuer: str,
    attends: tuple[str, ...],
    attends_nobody: bool,
    as_json: bool,
) -> None:
    """Add a profile, or change its name and whom it attends. ID is the identifier in the hospital's headers.

    What is not given stays as it was; --attends names all whom the profile attends from now on.

    Where several issuers give out the same PatientIDs, state the issuer: a study of another one is not the patient's.

    \b
    Example:
      mpacs-gateway profile add doctor D-17 --name 'Kim^Minsu' --attends P-1001 --attends P-1002
      mpacs-gateway profile add patient P-1001 --issuer HOSPITAL-A
    """
    from gateway import app
    from gateway.management.registry import NotTaken

    if issuer and kind != "patient":
        raise click.UsageError("--issuer is for patients; in --attends write ID^^^ISSUER")
    if attends and attends_nobody:
        raise click.UsageError("--attends and --attends-nobody exclude each other")
    if issuer:
        identifier = f"{identifier}^^^{issuer}"
    config, opened, registry = app.open_registry(state)
    try:
        made, is_new = registry.put_profile(
            check_kind(kind), identifier, name, attends if attends or attends_nobody else None
        )
    except NotTaken as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    if as_json:
        print_json({"kind": kind, "id": made.identifier, "reference": made.reference, "new": is_new})
    else:
        click.echo(f"{'added' if is_new else 'changed'} {kind} {made.identifier} (reference {made.reference})")


@profile.command("list")
@json_option
@state_option
def profile_list(state: Any, as_json: bool) -> None:
    """List all profiles.

    \b
    Example:
      mpacs-gateway profile list --json
    """
    from gateway import app

    _, _, registry = app.open_registry(state)
    found: list[dict[str, Any]] = [
        {
            "kind": p.kind,
            "id": p.identifier,
            "name": p.name,
            "attends": list(p.attends),
            "terms": [_term(one) for one in p.terms],
            "reference": p.reference,
        }
        for p in registry.profiles()
    ]
    if as_json:
        print_json(found)
    else:
        rows = [
            [
                row["kind"],
                row["id"],
                row["name"],
                ", ".join([*row["attends"], *map(_span, row["terms"])]),
                row["reference"],
            ]
            for row in found
        ]
        table(["kind", "id", "name", "attends", "reference"], rows)


def _term(term: Any) -> dict[str, Any]:
    return {
        "patient": term.patient,
        "role": term.role,
        "from": local_time(term.begins),
        "until": local_time(term.ends) if term.ends is not None else None,
        "reason": term.reason,
    }


def _span(term: dict[str, Any]) -> str:
    until = f" until {term['until']}" if term["until"] else ""
    return f"{term['patient']} ({term['role']} from {term['from']}{until})"


@profile.command("remove")
@click.argument("kind", type=_KIND)
@click.argument("identifier", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask, where devices are shut out.")
@state_option
def profile_remove(state: Any, kind: str, identifier: str, yes: bool) -> None:
    """Remove a profile and revoke its devices; says which, and asks.

    \b
    Example:
      mpacs-gateway profile remove doctor D-17
    """
    from gateway import app
    from gateway.management.registry import Unknown

    config, opened, registry = app.open_registry(state)
    reference = registry.reference(check_kind(kind), identifier)
    out = [d for d, p in registry.devices() if p.reference == reference and d.revoked_at is None]
    for device in out:
        click.echo(f"shuts out {device.device} ({printable(device.name)})", err=True)
    if out and not yes:
        click.confirm(
            f"remove {kind} {printable(identifier)} and revoke {len(out)} of its devices?", abort=True, err=True
        )
    try:
        registry.remove_profile(check_kind(kind), identifier)
    except Unknown as error:
        fail(str(error))
    app.publish_access(state, config, opened)
    click.echo(f"removed {kind} {identifier}")
