"""What commands that ask a PACS share."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click

from gateway.audit import Event
from gateway.cli_support import fail, measured


def check_days(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    """A day or a range of days as C-FIND takes it, or none."""
    from gateway.middleware.pacs.errors import QueryInvalid
    from gateway.middleware.pacs.query import days

    try:
        if text:
            days(text)
    except QueryInvalid as error:
        raise click.BadParameter(str(error)) from None
    return text


def account(state: Any, event: Event) -> None:
    """A line of the audit trail, in the operator's name, with the patient of a study that is here."""
    from gateway import app
    from gateway.management.index import arrivals_read, trail

    _, opened, _ = app.open_registry(state)
    with opened.begin() as connection:
        study = arrivals_read.study(connection, event.study) if event.study else None
        patient = study.PatientID if study is not None else event.patient
        trail.record(connection, replace(event, who=app.operator(), patient=patient))
    opened.dispose()


def ask_pacs(state: Any, question: dict[str, Any]) -> Any:
    """The answer; ends with the reason where there is none. A bar on standard error while a study comes."""
    with measured("instances") as show:
        return answer_of(state, question, show)


def answer_of(state: Any, question: dict[str, Any], show: Callable[[int, int], None] | None = None) -> Any:
    """The same; ``show`` is called with how many instances are here, of how many."""
    from gateway.app_pacs import ask

    answer: dict[str, Any] = {}

    def tell(line: dict[str, Any]) -> None:
        if "progress" not in line:
            answer.update(line)
        elif show is not None:
            show(line["progress"]["here"], line["progress"]["total"])

    ask(state, question, tell)
    if "error" in answer:
        fail(answer["reason"])
    if "done" not in answer:
        fail("the gateway ended before it had answered")
    return answer["done"]
