"""What all tests share: markers that skip by name, and the count of tests that ran against real peers."""

import os
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

# pynetdicom installs programs that bear the names of DCMTK's: in an active environment they would stand before them.
_SCRIPTS = str(Path(sys.executable).parent)
os.environ["PATH"] = os.pathsep.join(
    [*(folder for folder in os.environ["PATH"].split(os.pathsep) if folder != _SCRIPTS), _SCRIPTS]
)

_PROGRAMS = {"dcmtk": "storescu", "mosquitto": "mosquitto"}
_FOLDERS = {"corpus": "MPACS_CORPUS", "vectors": "MPACS_VECTORS"}
_ran: Counter[str] = Counter()
_lacked: Counter[str] = Counter()


_FIXTURES = {
    "mosquitto": "mosquitto",
    "stock": "amqtt as it ships",
    "ours": "embedded broker",
    "embedded_broker": "embedded broker",
    "gateway": "whole gateway",
    "console": "whole gateway",
}
"""Fixtures that start a real peer, whatever the test's markers say."""


def _put_own_programs_last() -> None:
    """In an activated environment pynetdicom's ``storescu`` and ``echoscu`` would stand in for DCMTK's."""
    own = str(Path(sys.prefix, "bin"))
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(sorted(folders, key=lambda folder: folder == own))


_put_own_programs_last()


def _marked(item: pytest.Item) -> list[str]:
    return [str(mark.args[0]) for mark in item.iter_markers("peer")]


def _is_installed(peer: str) -> bool:
    program = _PROGRAMS.get(peer, peer)
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, what needs a program or a folder that is not here; say with the result which peers it met."""
    for peer in _marked(item):
        if not _is_installed(peer):
            item.user_properties.append(("lacked", peer))
            pytest.skip(f"{peer} is not installed")
    for marker, variable in _FOLDERS.items():
        if item.get_closest_marker(marker) and not Path(os.environ.get(variable, "/nonexistent")).is_dir():
            pytest.skip(f"{variable} names no folder")
    started = {peer for name, peer in _FIXTURES.items() if name in getattr(item, "fixturenames", ())}
    item.user_properties += [("peer", peer) for peer in sorted({*_marked(item), *started})]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count in the process that prints the summary: results come to it from all workers."""
    for name, value in report.user_properties:
        if name == "peer" and report.when == "call" and not report.skipped:
            _ran[str(value)] += 1
        elif name == "lacked" and report.when == "setup":
            _lacked[str(value)] += 1


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests ran against real peers, and what was skipped for want of one."""
    if _ran or _lacked:
        terminalreporter.section("real peers")
        for peer, count in sorted(_ran.items()):
            terminalreporter.line(f"{peer}: {count} tests")
        for peer, count in sorted(_lacked.items()):
            terminalreporter.line(f"{peer}: not installed, {count} tests skipped")
