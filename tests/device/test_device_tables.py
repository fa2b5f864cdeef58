"""What a person sees on the terminal: nothing that it would obey; progress of what was asked for."""

import pytest
from click.testing import CliRunner

from device_client import progress
from device_client.cli import main


def _study(**values):
    def layer(received, segments):
        return {"received": received, "segments": segments, "frames": 1, "bytes": 1}

    series = {
        "SeriesInstanceUID": "1.2.3.1",
        "SeriesNumber": "1",
        "Modality": "CT\x1b[31m",
        "SeriesDescription": "Head\x1b]0;title\x07",
        "layers": {"display": layer(7, 7), "diagnostic": layer(0, 500)},
        "reports": [{"replaced": False, "status": "final", "DocumentTitle": "T\x1b[2J", "text": None, "media": []}],
    }
    return {
        "PatientName": "A\x1b[31mRED^B",
        "PatientID": "P\x9b1m",
        "StudyInstanceUID": "1.2.3",
        "StudyDate": "20261124",
        "StudyDescription": "x\ny",
        "ModalitiesInStudy": "CT",
        "CharacterSetGuessed": False,
        "current": True,
        "settled": True,
        "shared": [],
        "frames": 1,
        "recipients": ["doctor"],
        "series": [series],
        **values,
    }


def test_no_header_reaches_the_terminal_with_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    for study in (_study(), _study(PatientNameIdeographic="홍\x1b^길동", PatientNamePhonetic="\x1b[0m")):
        progress.studies_table([study])
        progress.study_tables(study)
        progress.study_reports(study)
    printed = capsys.readouterr().out
    assert "RED" in printed and "홍" in printed and "Head" in printed
    assert not [c for c in printed if not c.isprintable() and c != "\n"]


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"display": (7, 7), "diagnostic": (0, 500)}, "current"),
        ({"display": (3, 6), "diagnostic": (0, 500)}, "current, 50 %"),
        ({"display": (10, 10), "diagnostic": (10, 30)}, "current, 50 %"),
        ({"display": (0, 6)}, "current, 0 %"),
    ],
)
def test_progress_is_of_what_was_asked_for(layers: dict[str, tuple[int, int]], said: str) -> None:
    held = {name: {"received": received, "segments": segments} for name, (received, segments) in layers.items()}
    assert progress._state({"current": True, "settled": True, "shared": [], "series": [{"layers": held}]}) == said


@pytest.mark.parametrize("date", ["yesterday", "20240231", "2024", "20240201-20240101", "٢٠٢٤٠١٠١"])
def test_a_date_that_is_none_reaches_no_gateway(date, tmp_path):
    done = CliRunner().invoke(main, ["search", "--date", date, "--state", str(tmp_path)])
    assert done.exit_code == 2 and "--date" in done.stderr


def test_a_name_beyond_all_measure_leaves_room_for_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    progress.studies_table([_study(PatientName="Hong" * 250), _study(PatientName="Kim^Minsu")])
    shown = capsys.readouterr().out
    assert "…" in shown and "Kim" in shown and shown.replace("\n", "").count("Hong") <= 17
