"""A census as a table: one row for each patient who lies somewhere, or moved. Reads it; judges nothing."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.middleware.movement import Change, Movement

COLUMNS = ("PatientID", "IssuerOfPatientID", "PatientName", "ward", "bed", "change", "at")
MOST_BYTES = 64 * 2**20
_MOST_ROWS = 200_000
_CHANGES = (Change.ADMIT, Change.TRANSFER, Change.DISCHARGE)


class TableError(Exception):
    """The file is no such table; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line on which it ends, and what it says; or why it says nothing."""

    line: int
    movement: Movement | None
    reason: str = ""


def rows(data: bytes, encoding: str, now: float) -> Iterator[Row]:
    """The rows of a table with a header line; separated by commas, semicolons or tabs.

    Args:
        data: the file, at most ``MOST_BYTES``.
        encoding: of its text; a byte order mark is passed over.
        now: POSIX seconds, for rows that name no time.

    Raises:
        TableError: no such table, at its first row.
    """
    try:
        text = data.decode("utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError:
        raise TableError(
            f"this is no text in {encoding}: name its --encoding, such as cp949 for Excel in Korea"
        ) from None
    except LookupError:
        raise TableError("there is no such encoding: utf-8 and cp949 are usual") from None
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        _check_columns(reader.fieldnames or [])
        for count, row in enumerate(reader):
            if count == _MOST_ROWS:
                raise TableError(f"more than {_MOST_ROWS} rows: cut the table")
            yield _row(reader.line_num, row, now)
    except csv.Error as error:
        raise TableError(f"line {reader.line_num}: no CSV ({error})") from None


def _check_columns(names: object) -> None:
    found = [str(name).strip() for name in names] if isinstance(names, list | tuple) else []
    unknown = [name for name in found if name not in COLUMNS]
    if unknown or "PatientID" not in found or len(set(found)) != len(found):
        raise TableError(f"the first line names the columns: PatientID, ward, and as needed {', '.join(COLUMNS[1:])}")


def _row(line: int, row: dict[str | None, object], now: float) -> Row:
    if None in row or None in row.values():
        return Row(line, None, "it has not as many fields as the first line")
    cells = {str(name).strip(): str(value).strip() for name, value in row.items()}
    word = cells.get("change", "") or "admit"
    if word not in map(str, _CHANGES):
        return Row(line, None, f"change is none of {', '.join(_CHANGES)}")
    if not cells["PatientID"]:
        return Row(line, None, "no PatientID")
    try:
        at = moment(cells["at"]) if cells.get("at") else now
    except ValueError:
        return Row(line, None, "at is no time such as 2026-11-24T14:05 or 2026-11-24T14:05+09:00")
    movement = Movement(
        change=Change(word),
        PatientID=cells["PatientID"],
        IssuerOfPatientID=cells.get("IssuerOfPatientID", ""),
        at=at,
        ward="" if word == "discharge" else cells.get("ward", ""),
        bed="" if word == "discharge" else cells.get("bed", ""),
        PatientName=cells.get("PatientName", ""),
        source="csv",
    )
    return Row(line, movement)


def moment(text: str) -> float:
    """ISO 8601 as POSIX seconds; this machine's time zone where none is named. ValueError if it is none."""
    found = dt.datetime.fromisoformat(text)
    try:
        return found.astimezone(dt.UTC).timestamp()
    except (OverflowError, OSError):
        raise ValueError("out of range") from None
