"""The vector files: they are what the generator makes, and the code does what they say."""

import json
import re
from typing import Any

import pytest

from tests.vectors import generate, runner
from wire.errors import WireError

CODES = {kind.code for kind in WireError.__subclasses__()}


def _load(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((generate.FOLDER / f"{name}.json").read_text())
    return content


LOADED = {name: _load(name)["tests"] for name in generate.FILES}
ALL = [pytest.param(name, test, id=f"{name}: {test['reason']}") for name, tests in LOADED.items() for test in tests]


@pytest.mark.parametrize("name", generate.FILES)
def test_file_is_what_the_generator_makes(name: str) -> None:
    """So nobody edits a vector by hand, and no change of bytes goes unseen."""
    assert (generate.FOLDER / f"{name}.json").read_text() == generate.text(name)


@pytest.mark.parametrize(("name", "test"), ALL)
def test_vector(name: str, test: dict[str, Any]) -> None:
    """The output, or the error's code."""
    if test["result"] == "valid":
        assert runner.run(LOADED[name], test) == test["out"]
    else:
        with pytest.raises(WireError) as caught:
            runner.run(LOADED[name], test)
        assert caught.value.code == test["result"]
        assert "out" not in test


@pytest.mark.parametrize("name", generate.FILES)
def test_file_explains_itself(name: str) -> None:
    """Each reason once, known codes, whole numbers below 2^53, and every operation stands in the README."""
    content = _load(name)
    reasons = [test["reason"] for test in content["tests"]]
    assert len(set(reasons)) == len(reasons)
    readme = (generate.FOLDER / "README.md").read_text()
    for test in content["tests"]:
        assert test["result"] == "valid" or test["result"] in CODES
        assert f"`{test['op']}`" in readme
    for number in re.findall(r"[ \[](\d{16,})[,\]}]", json.dumps(content)):
        assert int(number) < 2**53 or name in ("cbor", "messages")


def test_every_file_is_listed() -> None:
    """No stray file that nobody runs."""
    assert {path.stem for path in generate.FOLDER.glob("*.json")} == set(generate.FILES)


def test_most_vectors_must_fail() -> None:
    """A suite of successes proves little; in the plain files a verdict of false is a refusal too."""
    refused = sum(test["result"] != "valid" or test["out"] is False for tests in LOADED.values() for test in tests)
    assert refused > sum(len(tests) for tests in LOADED.values()) / 2
