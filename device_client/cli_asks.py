"""``mpacs-device search | share | unshare | directory | receipts | release``: what the gateway is asked for people."""

import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from device_client.cli_support import ask, json_option, print_json, state_option
from device_client.errors import DeviceError

_SPAN = re.compile(r"\+([1-9][0-9]{0,4})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def until_ms(text: str, now_s: float) -> int:
    """``+2h``, ``+3d``, or a date with or without a time (ISO 8601), as milliseconds; ValueError if it is none."""
    if span := _SPAN.fullmatch(text):
        return int((now_s + timedelta(**{_UNITS[span[2]]: int(span[1])}).total_seconds()) * 1000)
    at = datetime.fromisoformat(text).astimezone().timestamp()
    if at <= now_s:
        raise ValueError("the time has passed")
    return int(at * 1000)


def _until(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int:
    if value is None:
        return 0
    try:
        return until_ms(value, time.time())
    except (ValueError, OverflowError):
        raise click.BadParameter("a time to come, such as +2h, +7d, 2030-01-31 or 2030-01-31T18:00") from None


def _date(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    text = value.replace("/", "")
    try:
        if text and not re.fullmatch(r"[0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8}", text, re.ASCII):
            raise ValueError
        days = [date.fromisoformat(day) for day in text.split("-") if day]
    except ValueError:
        raise click.BadParameter("YYYYMMDD, YYYYMMDD-, -YYYYMMDD or YYYYMMDD-YYYYMMDD") from None
    if days != sorted(days):
        raise click.BadParameter("a range of dates begins before it ends")
    return text


def _uid(study: str) -> str:
    """The UID of a study that is here, by how it begins; else ``study`` itself."""
    uid = str(ask({"op": "held", "study": study}) or study)
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", uid) or len(uid) > 64:
        raise DeviceError("no such study is here: name it by its StudyInstanceUID, as `mpacs-device search` shows it")
    return uid


def _with_bar(question: dict[str, Any], what: str) -> Any:
    if not sys.stderr.isatty():
        return ask(question)
    from device_client.progress import FetchBar

    bar = FetchBar(what)
    try:
        return ask(question, lambda message: bar.take(*message["progress"]))
    finally:
        bar.stop()


def retrieve(study: str, as_json: bool) -> None:
    """Have the gateway fetch a study, with a bar where somebody looks."""
    question = {"op": "ask", "ask": "retrieve", "study": _uid(study)}
    outcome = _with_bar(question, "the gateway has")
    if as_json:
        print_json(outcome)
    else:
        click.echo("the gateway has all of it: it comes with `mpacs-device run`")


@click.command()
@click.option("--name", default="", metavar="PATTERN", help="Patient's name; * and ? are wildcards.")
@click.option("--patient", default="", metavar="ID", help="PatientID.")
@click.option("--accession", default="", metavar="NUMBER", help="AccessionNumber.")
@click.option("--date", default="", metavar="RANGE", callback=_date, help="StudyDate: YYYYMMDD or YYYYMMDD-YYYYMMDD.")
@click.option("--modality", "modalities", multiple=True, metavar="M", help="CT, MR, ...; may be repeated.")
@click.option("--body-part", default="", metavar="PART", help="BodyPartExamined, such as CHEST.")
@click.option("--description", default="", metavar="PATTERN", help="StudyDescription.")
@click.option("--page", type=click.IntRange(1, 200), default=1, show_default=True, help="50 studies a page.")
@json_option
@state_option
def search(
    name: str,
    patient: str,
    accession: str,
    date: str,
    modalities: tuple[str, ...],
    body_part: str,
    description: str,
    page: int,
    as_json: bool,
) -> None:
    """Search the gateway's own store and the PACS; each study says where it lies.

    Example: mpacs-device search --name '홍*' --modality CT --date 20240101-
    """
    keys = {"PatientName": name, "PatientID": patient, "AccessionNumber": accession, "StudyDate": date,
            "ModalitiesInStudy": [one.upper() for one in modalities], "BodyPartExamined": body_part.upper(),
            "StudyDescription": description}  # fmt: skip
    found = ask({"op": "ask", "ask": "search", "keys": keys, "page": page - 1})
    if as_json:
        print_json(found)
        return
    from device_client.progress import found_table

    found_table(found["studies"])
    if found["more"]:
        click.echo(f"there are more: --page {page + 1}", err=True)
    for pacs in found["silent"]:
        click.echo(f"PACS {pacs} did not answer: what it has is not in the list", err=True)


@click.command()
@click.argument("name", default="")
@json_option
@state_option
def directory(name: str, as_json: bool) -> None:
    """List with whom this device may share; NAME is a pattern of names or identifiers.

    Example: mpacs-device directory '김*'
    """
    people = ask({"op": "ask", "ask": "directory", "name": name})
    if as_json:
        print_json(people)
        return
    from device_client.progress import people_table

    people_table(people)


@click.command()
@click.argument("study")
@click.option("--with", "whom", required=True, metavar="KIND:ID", help="A colleague: doctor:ID or ward:ID.")
@click.option("--until", "until", metavar="TIME", callback=_until, help="+2h, +7d, a date or a time [default: no end].")
@json_option
@state_option
def share(study: str, whom: str, until: int, as_json: bool) -> None:
    """Share STUDY with a colleague, until a time or until it is taken back.

    Example: mpacs-device share 1.2.840 --with doctor:D-17 --until +7d
    """
    done = ask({"op": "ask", "ask": "share", "study": _uid(study), "with": whom, "until": until})
    print_json(done) if as_json else click.echo(f"shared with {whom}")


@click.command()
@click.argument("study")
@click.option("--with", "whom", required=True, metavar="KIND:ID", help="With whom it was shared.")
@json_option
@state_option
def unshare(study: str, whom: str, as_json: bool) -> None:
    """Take a shared STUDY back. What has been read meanwhile is not recalled.

    Example: mpacs-device unshare 1.2.840 --with doctor:D-17
    """
    done = ask({"op": "ask", "ask": "unshare", "study": _uid(study), "with": whom})
    print_json(done) if as_json else click.echo(f"no longer shared with {whom}")


@click.command()
@click.argument("study")
@json_option
@state_option
def release(study: str, as_json: bool) -> None:
    """Let the patient have STUDY.

    Example: mpacs-device release 1.2.840
    """
    done = ask({"op": "ask", "ask": "release", "study": _uid(study)})
    print_json(done) if as_json else click.echo("released to the patient")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--patient", required=True, metavar="ID", help="PatientID of whom it is of.")
@click.option("--issuer", default="", help="IssuerOfPatientID, where several patients have this ID.")
@click.option("--study", default="", metavar="UID", help="The study that it is added to [default: a new one].")
@click.option("--description", default="", help="What it shows; 64 characters at most.")
@json_option
@state_option
def send(file: Path, patient: str, issuer: str, study: str, description: str, as_json: bool) -> None:
    """Send FILE, a picture, PDF or DICOM file, for a patient.

    It goes sealed to the gateway, which makes DICOM of it and passes it on to the PACS. What was cut off goes on
    where it stopped when the same command is given again.

    Example: mpacs-device send foot.jpg --patient P-1001 --description 'left foot'
    """
    uid = _uid(study) if study else ""
    question = {"op": "ask", "ask": "send", "path": str(file.absolute()), "patient": patient, "issuer": issuer,
                "study": uid, "description": description}  # fmt: skip
    stored = _with_bar(question, "sent")
    print_json(stored) if as_json else click.echo(f"stored in study {stored['StudyInstanceUID']}")


@click.command("break-glass")
@click.argument("patient")
@click.option("--issuer", default="", help="IssuerOfPatientID, where several patients have this ID.")
@click.option("--reason", required=True, help="Why; the administrator sees it, and it is recorded.")
@json_option
@state_option
def break_glass(patient: str, issuer: str, reason: str, as_json: bool) -> None:
    """Take emergency access to PATIENT, for a time that the site sets.

    Example: mpacs-device break-glass P-1001 --reason 'unconscious, no doctor of hers is here'
    """
    granted = ask({"op": "ask", "ask": "break_glass", "patient": patient, "issuer": issuer, "reason": reason})
    if as_json:
        print_json(granted)
    else:
        until = datetime.fromtimestamp(granted["until"] / 1000, UTC).astimezone()
        click.echo(f"until {until:%Y-%m-%d %H:%M}; this is recorded")


@click.command()
@click.argument("study")
@json_option
@state_option
def receipts(study: str, as_json: bool) -> None:
    """Show who received and opened STUDY.

    Example: mpacs-device receipts 1.2.840
    """
    read = ask({"op": "ask", "ask": "receipts", "study": _uid(study)})
    if as_json:
        print_json(read)
        return
    from device_client.progress import receipts_table

    receipts_table(read)


COMMANDS = (search, directory, share, unshare, release, send, break_glass, receipts)
