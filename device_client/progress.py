"""What a person sees on the terminal: progress bars and tables. The only module that knows rich."""

from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from device_client.events import Event
from device_client.layers import DEFAULT_LAYERS

_LONGEST_NAME = 64
"""Characters of a component group (PS3.5 table 6.2-1)."""


class ReceiveBar:
    """One bar over everything that is being received, on standard error."""

    def __init__(self) -> None:
        """Nothing is shown before the first segment."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task("segments", total=None, visible=False)
        self._objects: dict[str, tuple[int, int]] = {}

    def start(self) -> None:
        """Begin to draw."""
        self._progress.start()

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()

    def take(self, event: Event) -> None:
        """An event of the agent."""
        if event["event"] == "progress":
            self._objects[event["object"]] = (event["received"], event["segments"])
            received = sum(one for one, _ in self._objects.values())
            total = sum(one for _, one in self._objects.values())
            self._progress.update(self._task, completed=received, total=total, visible=True)


class ExportBar:
    """Pictures written, on standard error."""

    def __init__(self) -> None:
        """Nothing is shown before the first picture."""
        self._progress = Progress(
            TextColumn("pictures"), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True), transient=True
        )
        self._task = self._progress.add_task("", total=None)

    def take(self, done: int, total: int) -> None:
        """``done`` of ``total`` are written."""
        if done == 1:
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total)
        if done == total:
            self._progress.stop()


class FetchBar:
    """How far the gateway is with what it was asked, on standard error."""

    def __init__(self, what: str) -> None:
        """Nothing is shown before it is known how many there are."""
        self._progress = Progress(TextColumn(what), BarColumn(), MofNCompleteColumn(), console=Console(stderr=True))
        self._task = self._progress.add_task("", total=None)

    def take(self, here: int, of: int) -> None:
        """``here`` of so many; 0 is not known yet."""
        if of:
            self._progress.start()
            self._progress.update(self._task, completed=here, total=of)

    def stop(self) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


def _printable(text: str) -> str:
    """Names come from strangers' headers, which must not reach a terminal with its control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _add(table: Table, *cells: str) -> None:
    table.add_row(*map(_printable, cells))


def _state(study: dict[str, Any]) -> str:
    # A layer of which nothing has come was not asked for, unless it comes by itself.
    layers = [
        layer
        for series in study["series"]
        for name, layer in series["layers"].items()
        if layer["received"] or name in DEFAULT_LAYERS
    ]
    received = sum(layer["received"] for layer in layers)
    segments = sum(layer["segments"] for layer in layers)
    words = ["current" if study["current"] else "not current"]
    if not study["settled"]:
        words.append("growing")
    if received < segments:
        words.append(f"{100 * received // segments} %")
    words += [f"shared by {one['by']}{' until ' + one['until'] if one['until'] else ''}" for one in study["shared"]]
    return ", ".join(words)


def _name(study: dict[str, Any]) -> str:
    """As its bearer writes it, then how it sounds; marked where the gateway had to guess its characters.

    Korean headers have the Hanja in the ideographic group and the Hangul in the phonetic one (PS3.5 annex I).
    """
    written = _brief(study.get("PatientNameIdeographic") or study["PatientName"])
    said = _brief(study.get("PatientNamePhonetic", ""))
    text = f"{written} ({said})" if said and written else written or said
    return " ".join(text.replace("^", " ").split()) + (" (?)" if study["CharacterSetGuessed"] else "")


def _brief(name: str) -> str:
    """As much of it as DICOM allows for: a longer one would fill the screen that a list is for."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}…"


def studies_table(studies: list[dict[str, Any]]) -> None:
    """All studies, on standard output."""
    table = Table()
    for column in ("Patient", "Patient ID", "Date", "Description", "Modality", "Series", "Pictures", "State"):
        right = column in ("Series", "Pictures")
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=column == "Date")
    for study in studies:
        _add(
            table,
            _name(study),
            study["PatientID"],
            study["StudyDate"],
            study["StudyDescription"],
            study["ModalitiesInStudy"].replace("\\", ", "),
            str(len(study["series"])),
            str(study["frames"]),
            _state(study),
        )
    _print(table)


def found_table(studies: list[dict[str, Any]]) -> None:
    """What a search found, and where it lies."""
    table = Table()
    for column in ("Patient", "Patient ID", "Date", "Description", "Modality", "Images", "Lies in", "StudyInstanceUID"):
        right = column == "Images"
        table.add_column(column, justify="right" if right else "left", overflow="fold", no_wrap=column == "Date")
    for study in studies:
        places = (["gateway"] if study["own"] else []) + study["pacs"]
        count = study["NumberOfStudyRelatedInstances"]
        _add(
            table,
            _name(study),
            study["PatientID"],
            study["StudyDate"],
            study["StudyDescription"],
            study["ModalitiesInStudy"].replace("\\", ", "),
            str(count) if count else "",
            ", ".join(places),
            study["StudyInstanceUID"],
        )
    _print(table)


def people_table(people: list[dict[str, Any]]) -> None:
    """With whom may be shared."""
    table = Table("Who", "Name")
    for one in people:
        _add(table, f"{one['kind']}:{one['id']}", " ".join(one["name"].replace("^", " ").split()))
    _print(table)


def receipts_table(read: list[dict[str, Any]]) -> None:
    """Who received and opened a study."""
    table = Table("Who", "Name", "Layer", "Event", "When")
    for one in read:
        at = datetime.fromtimestamp(one["at"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
        name = " ".join(one["name"].replace("^", " ").split())
        _add(table, f"{one['kind']}:{one['id']}", name, one["layer"], one["event"], at)
    _print(table)


def study_tables(study: dict[str, Any]) -> None:
    """One study: what is known of it, its series, and their layers."""
    facts = Table(show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for key in ("PatientName", "PatientNameIdeographic", "PatientNamePhonetic", "PatientID", "StudyDate", "StudyTime",
                "StudyDescription", "AccessionNumber", "ModalitiesInStudy", "StudyInstanceUID"):  # fmt: skip
        if study.get(key):
            _add(facts, key, study[key])
    if study["CharacterSetGuessed"]:
        facts.add_row("text", "as guessed: its file declares no character set, or a wrong one")
    facts.add_row("state", _state(study))
    _add(facts, "for", ", ".join(study["recipients"]))
    _print(facts)
    table = Table()
    for column in ("Series", "Modality", "Description", "Layer", "Pictures", "Received", "Bytes"):
        table.add_column(column, justify="right" if column in ("Pictures", "Received", "Bytes") else "left")
    for series in study["series"]:
        head = [series["SeriesNumber"], series["Modality"], series["SeriesDescription"]]
        for layer, facts_of in series["layers"].items():
            received = f"{facts_of['received']}/{facts_of['segments']}"
            _add(table, *head, layer, str(facts_of["frames"]), received, str(facts_of["bytes"]))
            head = ["", "", ""]
    _print(table)


def study_reports(study: dict[str, Any]) -> None:
    """The study's reports, in full where their text is here."""
    for series in study["series"]:
        for report in series["reports"]:
            standing = ["REPLACED" if report["replaced"] else "", report["status"].upper()]
            title = " ".join(part for part in (*standing, report["DocumentTitle"]) if part)
            _print(Rule(Text(_printable(title) or "Report"), align="left"))
            if report["text"] is not None:
                _print(Text(report["text"]))
            else:
                kinds = ", ".join(media.partition("/")[2] for media in report["media"])
                _print(Text(f"{kinds}: `mpacs-device export {study['StudyInstanceUID']} --to DIR --layer report`"))


def _print(what: Table | Rule | Text) -> None:
    # Names come from outside: no markup of theirs is obeyed.
    console = Console(markup=False, highlight=False)
    console.print(what)
