"""``mpacs-gateway pacs``: the PACS that are asked for what is not here."""

from typing import Any

import click
import msgspec

from gateway.audit import Event, Outcome
from gateway.cli_pacs_support import account, ask_pacs, check_days
from gateway.cli_support import fail, json_option, local_time, print_json, state_option, table
from gateway.config_pacs import Pacs, PacsTls

_RESTART = "it is used from the next start of the gateway on"


@click.group()
def pacs() -> None:
    """Connect PACS, search in them, fetch studies.

    \b
    Example:
      mpacs-gateway pacs add main --aet ORTHANC --host 192.0.2.20 --port 4242
      mpacs-gateway pacs echo main
      mpacs-gateway pacs find main --name '김*' --date 20240101-
      mpacs-gateway pacs get main --study 1.2.840.113619.2.1
    """


@pacs.command("add")
@click.argument("name")
@click.option("--aet", default="", help="The PACS's AE title.")
@click.option("--host", default="")
@click.option("--port", type=click.IntRange(1, 65535), default=None)
@click.option("--via", type=click.Choice(["get", "move"]), default="get", show_default=True, help="C-GET or C-MOVE.")
@click.option("--calling", default="", metavar="AET", help="Our AE title towards it; the gateway's unless set.")
@click.option("--dicomweb", default="", metavar="URL", help="In place of --aet, --host and --port.")
@click.option("--token-file", default="", metavar="FILE", help="Bearer token for DICOMweb.")
@click.option("--user", default="", help="Basic authentication for DICOMweb, with --password-file.")
@click.option("--password-file", default="", metavar="FILE")
@click.option("--tls", is_flag=True, help="DICOM over TLS; --dicomweb https:// needs it only for the files below.")
@click.option("--authority", default="", metavar="FILE", help="Who vouches for the PACS (PEM); else the system's.")
@click.option("--certificate", default="", metavar="FILE", help="What we show it (PEM), with --key.")
@click.option("--key", default="", metavar="FILE")
@state_option
def add(
    state: Any, name: str, port: int | None, tls: bool, authority: str, certificate: str, key: str, **more: Any
) -> None:
    """Write a PACS into gateway.yaml. Files are named as seen from the state folder, or absolutely.

    \b
    Example:
      mpacs-gateway pacs add main --aet ORTHANC --host 192.0.2.20 --port 4242 --via move
      mpacs-gateway pacs add archive --dicomweb https://pacs.example/dicom-web --token-file /etc/mpacs/token
    """
    from gateway.config_edit import add_pacs

    secured = PacsTls(authority, certificate, key) if tls or authority or certificate or key else None
    try:
        made = msgspec.convert({"name": name, "port": port or 0, **more}, Pacs)
    except msgspec.ValidationError as error:
        raise click.UsageError(str(error)) from None
    add_pacs(state.root, msgspec.structs.replace(made, tls=secured))
    click.echo(f"{name} stands in gateway.yaml; {_RESTART}. Try it now: mpacs-gateway pacs echo {name}")


@pacs.command("remove")
@click.argument("name")
@state_option
def remove(state: Any, name: str) -> None:
    """Take a PACS out of gateway.yaml; what came from it stays.

    \b
    Example:
      mpacs-gateway pacs remove archive
    """
    from gateway.config_edit import remove_pacs

    remove_pacs(state.root, name)
    click.echo(f"{name} is gone from gateway.yaml; {_RESTART}")


@pacs.command("list")
@json_option
@state_option
def list_pacs(state: Any, as_json: bool) -> None:
    """List the PACS and when each last answered.

    \b
    Example:
      mpacs-gateway pacs list --json
    """
    from gateway.app_pacs import status_of

    found = status_of(state)
    if as_json:
        print_json(found)
        return
    rows = [
        [
            one["pacs"],
            one["how"],
            one["where"],
            local_time(one["answered_at"]) if one["answered_at"] else "not yet",
            one["error"],
        ]
        for one in found
    ]
    table(["PACS", "how", "where", "answered", "trouble"], rows)


@pacs.command("echo")
@click.argument("name")
@state_option
def echo(state: Any, name: str) -> None:
    """Ask a PACS whether it is there and speaks with us (C-ECHO, or a search by QIDO-RS).

    \b
    Example:
      mpacs-gateway pacs echo main
    """
    ask_pacs(state, {"op": "echo", "pacs": name})
    click.echo(f"{name} answers")


@pacs.command("find")
@click.argument("name")
@click.option("--name", "patient_name", default="", metavar="PATTERN", help="PatientName, with * and ?.")
@click.option("--patient", default="", metavar="ID", help="PatientID.")
@click.option("--accession", default="", metavar="NUMBER")
@click.option(
    "--date",
    default="",
    metavar="RANGE",
    callback=check_days,
    help="StudyDate: 20240101, 20240101-, 20240101-20241231.",
)
@click.option("--modality", default="", metavar="M")
@click.option("--study", default="", metavar="UID")
@click.option("--series", default="", metavar="UID")
@click.option("--description", default="", metavar="PATTERN", help="StudyDescription, with * and ?.")
@click.option(
    "--level",
    type=click.Choice(["patient", "study", "series", "image"]),
    default="study",
    show_default=True,
    help="series needs --study, image --study and --series.",
)
@click.option("--most", type=click.IntRange(1, 5000), default=500, show_default=True)
@json_option
@state_option
def find(state: Any, name: str, level: str, most: int, as_json: bool, **asked: str) -> None:
    """Search in a PACS. A name in Hangul is found wherever it stands in the stored name.

    \b
    Example:
      mpacs-gateway pacs find main --name '김*' --date 20240101-
    """
    filters = {_KEYWORDS[option]: text for option, text in asked.items() if text}
    if level == "series" and "ModalitiesInStudy" in filters:
        filters["Modality"] = filters.pop("ModalitiesInStudy")
    query = {"level": level.upper(), "filters": filters, "most": most}
    found = ask_pacs(state, {"op": "find", "query": query, "pacs": [name]})
    hits = [hit["attributes"] for hit in found["hits"]]
    outcome: Outcome = "failed" if found["away"] else "success"
    account(
        state, Event("search", "", outcome, "", f"pacs:{name}", asked["patient"], asked["study"], f"{len(hits)} hits")
    )
    for away in found["away"]:
        fail(f"{away['pacs']}: {away['reason']}")
    if as_json:
        print_json(hits)
    else:
        columns = _COLUMNS[level]
        table(list(columns), [[_shown(hit, tag) for tag in columns.values()] for hit in hits])
    if found["cut"]:
        click.echo(f"mpacs-gateway: there are more than {most}: search for less", err=True)


@pacs.command("get")
@click.argument("name")
@click.option("--study", required=True, metavar="UID")
@click.option("--series", default="", metavar="UID", help="Only this one.")
@click.option("--refresh", is_flag=True, help="Compare with the PACS even if it was fetched whole a short while ago.")
@json_option
@state_option
def get(state: Any, name: str, study: str, series: str, refresh: bool, as_json: bool) -> None:
    """Fetch a study, or a series: of it only what is not here. Exit 1 unless all of it is here then.

    \b
    Example:
      mpacs-gateway pacs get main --study 1.2.840.113619.2.1
    """
    question = {"op": "retrieve", "study": study, "series": series, "pacs": name, "must_ask": refresh}
    done = ask_pacs(state, question)
    outcome: Outcome = "success" if done["outcome"] == "complete" else "failed"
    count = f"{done['from_pacs']} instances"
    account(state, Event("retrieve", "", outcome, whom=f"pacs:{name}", study=study, what=count))
    if as_json:
        print_json(done)
    elif done["outcome"] != "absent":
        click.echo(
            f"{done['outcome']}: {done['here']} of {done['total']} instances are here, {done['from_pacs']} came now"
        )
    if done["outcome"] != "complete":
        what = "series of that study" if series else "study"
        fail(done["reason"] or f"not found: {name} has no such {what}, and nothing of it is here")


_KEYWORDS = {
    "patient_name": "PatientName",
    "patient": "PatientID",
    "accession": "AccessionNumber",
    "date": "StudyDate",
    "modality": "ModalitiesInStudy",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "description": "StudyDescription",
}
_PATIENT_COLUMNS = {"PatientID": "00100020", "PatientName": "00100010", "birth": "00100030", "sex": "00100040"}
_COLUMNS = {
    "patient": _PATIENT_COLUMNS,
    "study": {
        "PatientID": "00100020",
        "PatientName": "00100010",
        "date": "00080020",
        "modalities": "00080061",
        "description": "00081030",
        "accession": "00080050",
        "instances": "00201208",
        "study": "0020000D",
    },
    "series": {
        "number": "00200011",
        "modality": "00080060",
        "body part": "00180015",
        "description": "0008103E",
        "instances": "00201209",
        "series": "0020000E",
    },
    "image": {"number": "00200013", "SOP class": "00080016", "instance": "00080018"},
}


def _shown(hit: dict[str, Any], tag: str) -> str:
    values = hit.get(tag, {}).get("Value") or []
    return ", ".join("=".join(v for v in one.values() if v) if isinstance(one, dict) else str(one) for one in values)
