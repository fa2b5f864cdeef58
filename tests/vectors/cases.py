"""The shape of a vector, and the check that a file's expectations are those of the code."""

from typing import Any

from tests.vectors import runner
from wire.errors import WireError

Test = dict[str, Any]


def valid(reason: str, op: str, **given: Any) -> Test:
    """Must succeed; its output is filled in."""
    return {"reason": reason, "op": op, "in": given, "result": "valid"}


def fails(code: str, reason: str, op: str, **given: Any) -> Test:
    """Must fail with this code."""
    return {"reason": reason, "op": op, "in": given, "result": code}


def like(base: Test, result: str, reason: str, edits: dict[str, Any] | None = None, **given: Any) -> Test:
    """As ``base``, with other inputs or with edits to hexadecimal ones."""
    test: Test = {"reason": reason, "op": base["op"], "like": base["reason"], "result": result}
    if given:
        test["in"] = given
    if edits:
        test["edits"] = edits
    return test


def outcome(tests: list[Test], test: Test) -> tuple[str, Any]:
    """``("valid", output)``, or the error's code and None."""
    try:
        return "valid", runner.run(tests, test)
    except WireError as error:
        return error.code, None


def finished(about: str, tests: list[Test]) -> dict[str, Any]:
    """The file: outputs filled in, each expectation held, each reason once."""
    reasons = [test["reason"] for test in tests]
    assert len(set(reasons)) == len(reasons), [reason for reason in reasons if reasons.count(reason) > 1]
    for test in tests:
        result, out = outcome(tests, test)
        assert result == test["result"], (test["reason"], test["result"], result)
        if result == "valid":
            test["out"] = out
    return {"about": about, "tests": tests}
