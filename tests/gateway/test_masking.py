"""What a ward is told of a study: a closed list, a masked name, and no identifier even in free text."""

import json
from typing import Any

import pytest

from gateway.config import Wards
from gateway.management.index.arrivals_rows import SeriesRow, StudyRow
from gateway.management.masking import mask_name, mask_series, mask_study
from gateway.management.wards import for_ward

ATTRIBUTES = {
    "00080020": {"vr": "DA", "Value": ["20261124"]},
    "00080050": {"vr": "SH", "Value": ["ACC-77"]},
    "00080090": {"vr": "PN", "Value": [{"Alphabetic": "Kim^Minsu"}]},
    "00081030": {"vr": "LO", "Value": ["Chest CT"]},
    "00100010": {
        "vr": "PN",
        "Value": [{"Alphabetic": "Hong^Gildong", "Ideographic": "洪^吉洞", "Phonetic": "홍^길동"}],
    },
    "00100020": {"vr": "LO", "Value": ["P-1001"]},
    "00100030": {"vr": "DA", "Value": ["19700101"]},
    "0020000D": {"vr": "UI", "Value": ["1.2.3"]},
    "00380300": {"vr": "LO", "Value": ["W3^12^2"]},
}


def study(**changes: Any) -> StudyRow:
    attributes = json.dumps({**ATTRIBUTES, **changes}, ensure_ascii=False).encode()
    return StudyRow(1, "1.2.3", "P-1001", "", "Hong^Gildong", attributes, True, 0.0, 0.0, 1, 1)


@pytest.mark.parametrize(
    ("name", "masked", "initials"),
    [
        ("Hong^Gildong", "H**^G**", "H^G"),
        ("홍^길동", "홍^*동", "홍^길"),
        ("홍길동", "홍*동", "홍"),
        ("남궁^민수", "남*^*수", "남^민"),
        ("이^산", "이^*", "이^산"),
        ("洪^吉洞", "洪^*洞", "洪^吉"),
        ("홍^길동", "홍^*동", "홍^길"),
        ("김", "*", "김"),
        ("O'Brien^Anne Marie", "O**^A**", "O^A"),
        ("Madonna", "M**", "M"),
        ("^GILDONG", "G**", "G"),
        ("^", "", ""),
        ("", "", ""),
    ],
)
def test_a_name_under_its_mask(name: str, masked: str, initials: str) -> None:
    assert mask_name(name, "masked") == masked
    assert mask_name(name, "initials") == initials


def test_what_a_ward_is_told_is_a_closed_list() -> None:
    told = mask_study(study(), "masked").attributes
    assert set(json.loads(told)) == {"00080020", "00081030", "00100010", "0020000D", "00380300"}
    for secret in ("Gildong", "吉", "길동", "P-1001", "ACC-77", "Minsu", "1970"):
        assert secret not in told.decode()
    assert "00100010" not in json.loads(mask_study(study(), "none").attributes)


def test_a_ward_is_told_when_it_must_hide_pictures() -> None:
    assert for_ward(study(), Wards()) == mask_study(study(), "masked")
    told = json.loads(for_ward(study(), Wards(names="none", blank_after_s=600)).attributes)
    assert told["00910010"]["Value"] == ["MPACS EDGE"] and told["00911003"] == {"vr": "IS", "Value": [600]}
    assert set(told) == {"00080020", "00081030", "0020000D", "00380300", "00910010", "00911003"}


@pytest.mark.parametrize("text", ["CT of HONG", "홍길동 흉부", "P-1001 chest", "acc-77"])
def test_free_text_that_names_the_patient_is_left_out(text: str) -> None:
    named = study(**{"00081030": {"vr": "LO", "Value": [text]}})
    assert "00081030" not in json.loads(mask_study(named, "masked").attributes)
    attributes = {"00080060": {"vr": "CS", "Value": ["CT"]}, "0008103E": {"vr": "LO", "Value": [text]}}
    series = SeriesRow(1, 1, "1.2.3.4", "CT", json.dumps(attributes, ensure_ascii=False).encode())
    assert set(json.loads(mask_series(series, named).attributes)) == {"00080060"}
