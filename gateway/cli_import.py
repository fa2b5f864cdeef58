"""``mpacs-gateway import``: files, folders, media and ZIPs; pictures and documents become DICOM."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import click

from gateway.audit import Event
from gateway.cli_support import counted, fail, json_option, print_json, state_option, table


@click.command("import")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--patient", default="", metavar="ID", help="Whose the files are, or ID^^^ISSUER; DICOM of others is refused."
)
@click.option("--study", default="", metavar="UID", help="The StudyInstanceUID that they are added to; else a new one.")
@click.option("--name", default="", metavar="NAME", help="Of a patient who is not known yet, such as '김^민수'.")
@click.option("--issuer", default="", help="IssuerOfPatientID, where several patients have this ID.")
@click.option("--description", default="", help="SeriesDescription of pictures and documents.")
@click.option("--modality", default="", help="Of pictures and documents; else OT, DOC, or XC for a camera's.")
@click.option("--no-identity-in-pixels", is_flag=True, help="You looked: no name or date stands in the pictures.")
@json_option
@state_option
def import_files(
    state: Any,
    paths: tuple[Path, ...],
    patient: str,
    study: str,
    name: str,
    issuer: str,
    description: str,
    modality: str,
    no_identity_in_pixels: bool,
    as_json: bool,
) -> None:
    """Take files in, whether the gateway runs or not; exit 1 if one was refused, the rest is taken.

    DICOM files, folders and media of them, ZIPs; for a patient who is named also TIFF, JPEG, PNG and PDF.

    \b
    Example:
      mpacs-gateway import /media/cdrom
      mpacs-gateway import scan.pdf photo.jpg --patient P-1001 --study 1.2.840.113619.2.1
    """
    from gateway import app
    from gateway.app_import import doorway

    _, opened, _ = app.open_registry(state)
    with doorway(state, opened) as (admission, entrance):
        from gateway.management.index import trail
        from gateway.management.subjects import SubjectRefusedError, find_subject
        from gateway.middleware.importing.importer import Importer
        from gateway.middleware.importing.subject import Wishes, WishRefusedError

        subject = None
        if patient or study:
            try:
                with opened.connect() as connection:
                    subject = find_subject(connection, patient, study, name, issuer)
            except SubjectRefusedError as error:
                fail(str(error))
        elif name or issuer:
            raise click.UsageError("--name and --issuer go with --patient")
        try:
            wishes = Wishes(description, modality, no_identity_in_pixels)
        except WishRefusedError as error:
            fail(str(error))
        importer = Importer(admission, entrance.is_known, "import", subject, wishes)
        reports = list(counted(importer.take(paths), "files"))
        entrance.settle({report.StudyInstanceUID for report in reports if report.StudyInstanceUID})
        with opened.begin() as connection:
            trail.record(connection, *_events(reports, app.operator(), patient))
    opened.dispose()
    _show(reports, as_json)
    is_refused = any(report.outcome == "refused" for report in reports)
    sys.exit(1 if is_refused or all(report.outcome == "skipped" for report in reports) else 0)


def _events(reports: list[Any], operator: str, patient: str | None) -> list[Event]:
    """One for each study of which something new came."""
    counts: Counter[str] = Counter()
    for report in reports:
        if report.outcome == "new":
            counts[report.StudyInstanceUID] += len(report.instances)
    return [
        Event("imported", operator, patient=patient or "", study=study, what=f"{count} instances")
        for study, count in counts.items()
    ]


def _show(reports: list[Any], as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "path": report.name,
                    "kind": report.kind,
                    "outcome": report.outcome,
                    "detail": report.detail,
                    "StudyInstanceUID": report.StudyInstanceUID,
                    "SOPInstanceUIDs": report.instances,
                }
                for report in reports
            ]
        )
    else:
        columns = ["file", "kind", "outcome", "instances", "why"]
        rows = [
            [report.name, report.kind, report.outcome, str(len(report.instances) or ""), report.detail]
            for report in reports
        ]
        table(columns, rows)
    counts = {outcome: sum(report.outcome == outcome for report in reports) for outcome in _ORDER}
    click.echo(", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count), err=True)
    is_taken = any(counts[outcome] for outcome in ("new", "known", "kept-apart"))
    if refused := counts["refused"]:
        rest = "the rest was taken" if is_taken else "nothing was taken"
        click.echo(f"mpacs-gateway: {refused} refused; {rest}", err=True)
    elif not is_taken:
        click.echo("mpacs-gateway: nothing was taken: there is no file in it that can be imported", err=True)


_ORDER = ("new", "known", "kept-apart", "refused", "skipped")
