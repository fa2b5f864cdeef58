"""What all tests share: markers that skip by name, and the count of tests that ran against real peers."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

_PROGRAMS = {"dcmtk": "storescu", "mosquitto": "mosquitto"}
_FOLDERS = {"corpus": "MPACS_CORPUS", "vectors": "MPACS_VECTORS"}
_ran: Counter[str] = Counter()
_lacked: Counter[str] = Counter()


def _peers(item: pytest.Item) -> list[str]:
    return [str(mark.args[0]) for mark in item.iter_markers("peer")]


def _is_installed(peer: str) -> bool:
    program = _PROGRAMS.get(peer, peer)
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, what needs a program or a folder that is not here."""
    for peer in _peers(item):
        if not _is_installed(peer):
            _lacked[peer] += 1
            pytest.skip(f"{peer} is not installed")
    for marker, variable in _FOLDERS.items():
        if item.get_closest_marker(marker) and not Path(os.environ.get(variable, "/nonexistent")).is_dir():
            pytest.skip(f"{variable} names no folder")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Count what ran against a real peer, from its marker or from the fixture that starts it."""
    for peer in {*_peers(item), *getattr(item, "real_peers", ())}:
        _ran[peer] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran against real peers, and what was skipped for want of one."""
    if _ran or _lacked:
        terminalreporter.section("real peers")
        for peer, count in sorted(_ran.items()):
            terminalreporter.line(f"{peer}: {count} tests")
        for peer, count in sorted(_lacked.items()):
            terminalreporter.line(f"{peer}: not installed, {count} tests skipped")
