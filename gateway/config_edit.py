"""Adds a PACS to gateway.yaml and takes one out, leaving what people wrote there as it is."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import yaml

from gateway import config as configuration
from gateway.config import ConfigError
from gateway.config_pacs import Pacs


def add_pacs(state: Path, pacs: Pacs) -> None:
    """Write it into the list ``pacs``. ConfigError says why not; the file is unchanged then."""
    plain, default = msgspec.to_builtins(pacs), msgspec.to_builtins(Pacs(name=pacs.name))
    chosen = {key: value for key, value in plain.items() if key == "name" or value != default[key]}

    def change(lines: list[str]) -> list[str]:
        begin, end, indent = _block(lines)
        text = yaml.safe_dump([chosen], sort_keys=False, allow_unicode=True).splitlines()
        item = [" " * indent + line for line in text]
        if begin < 0:
            return [*lines, "pacs:", *item]
        return [*lines[:begin], "pacs:", *lines[begin + 1 : end], *item, *lines[end:]]

    _rewrite(state, change, lambda several: [*several, chosen])


def remove_pacs(state: Path, name: str) -> None:
    """Take it out of the list. ConfigError where it is not there, or where the file is too unusual to be edited."""

    def change(lines: list[str]) -> list[str]:
        begin, end, indent = _block(lines)
        starts = [n for n in range(begin + 1, end) if lines[n].startswith(" " * indent + "- ")]
        for start, stop in pairwise([*starts, end]):
            parsed = yaml.safe_load("\n".join(lines[start:stop]))
            if parsed and parsed[0].get("name") == name:
                head = "pacs: []" if len(starts) == 1 else lines[begin]
                return [*lines[:begin], head, *lines[begin + 1 : start], *lines[stop:]]
        raise ConfigError(f"no PACS is named {name}: see `mpacs-gateway pacs list`")

    _rewrite(state, change, lambda several: [one for one in several if one.get("name") != name])


def _rewrite(state: Path, change: Any, expected: Any) -> None:
    from gateway.management.files import write_private

    path = state / configuration.FILE_NAME
    configuration.load(state)
    text = path.read_text()
    before = yaml.safe_load(text)
    changed = "\n".join(change(text.splitlines())) + "\n"
    try:
        after = yaml.safe_load(changed)
    except yaml.YAMLError:
        after = None
    wanted = {**before, "pacs": expected(before.get("pacs") or [])}
    if after != wanted:
        raise ConfigError(f"{path} is written in a way that only a person can edit: change its list pacs by hand")
    configuration.parse(changed.encode(), str(path))
    write_private(path, changed.encode())


def _block(lines: list[str]) -> tuple[int, int, int]:
    """The line of ``pacs:`` (-1: there is none), the line behind its last item, and how far items are indented."""
    begin = next((n for n, line in enumerate(lines) if line.startswith("pacs:")), -1)
    if begin < 0:
        return -1, len(lines), 0
    end, last, indent = begin + 1, begin + 1, 0
    while end < len(lines) and (not lines[end].strip() or lines[end][0] in " -#"):
        stripped = lines[end].lstrip()
        if stripped.startswith("- ") and last == begin + 1:
            indent = len(lines[end]) - len(stripped)
        end += 1
        if stripped and not stripped.startswith("#"):
            last = end
    return begin, last, indent
