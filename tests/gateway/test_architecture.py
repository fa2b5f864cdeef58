"""The arrows between packages, by the linter's contracts and by what a fresh interpreter really loads.

A re-export in an ``__init__`` fools the linter, so each process's imports are looked at as they are.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateways import Part, RunningGateway, program

ROOT = Path(__file__).parents[2]


def loaded(script: str) -> set[str]:
    """The modules that a fresh interpreter has after ``script``."""
    code = f"{script}\nimport sys\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_contracts_of_the_linter_hold() -> None:
    assert Path(program("lint-imports")).exists(), "import-linter is not installed"
    done = subprocess.run(
        [program("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


APPLICATION = ("gateway/app.py", "gateway/app_process.py", "gateway/app_status.py")

CORE = """
from gateway import app_process
from gateway.console import server
from gateway.delivery import core
from gateway.management import announcer, authority, broker_files, object_store, registry, vault, workers
from gateway.management.studio import studio
from gateway.management.index import arrivals, arrivals_tables, deliveries, engine, people, retrieved, told
from gateway.middleware.pacs import client
"""
INTAKE = """
from gateway import app_process
from gateway.middleware.intake import import_light
import_light()
from gateway.management.index import arrivals, arrivals_quarantine, arrivals_tables, engine
from gateway.middleware.scp_settings import ScpSettings
"""
BROKER = """
import broker.cli, broker.process, broker.server, broker.config, broker.logs
"""
SUPERVISOR = """
import gateway.cli, gateway.supervisor, gateway.app, gateway.management.broker_config
"""


@pytest.mark.parametrize(
    ("script", "forbidden"),
    [
        (CORE, {"pynetdicom", "pydicom", "numpy", "PIL", "imagecodecs", "amqtt", "broker", "device_client", "rich"}),
        (
            INTAKE,
            {
                "numpy",
                "aiohttp",
                "PIL",
                "imagecodecs",
                "paho",
                "amqtt",
                "gateway.delivery.core",
                "gateway.management.vault",
            },
        ),
        (BROKER, {"wire.seal", "wire.sign", "wire.hpke", "wire.messages", "cbor2", "gateway", "sqlalchemy", "pydicom"}),
        (SUPERVISOR, {"sqlalchemy", "pydicom", "pynetdicom", "numpy", "PIL", "paho", "cbor2", "wire.seal"}),
    ],
    ids=["core", "intake", "broker", "supervisor"],
)
def test_a_process_loads_nothing_that_is_not_its_own(script: str, forbidden: set[str]) -> None:
    found = loaded(script)
    assert not found & forbidden


def test_the_supervisor_as_it_really_starts_is_small(tmp_path: Path) -> None:
    """What ``run`` loads besides, seen from outside: the shared objects that are mapped into the running process."""
    with RunningGateway(tmp_path / "state") as gateway:
        maps = {part: Path(f"/proc/{pid}/maps").read_text() for part, pid in gateway.pids().items()}
        assert maps.keys() == {"supervisor", "broker", "core", "intake"}
        forbidden: dict[Part, tuple[str, ...]] = {
            "supervisor": ("sqlalchemy", "cryptography", "numpy", "PIL/"),
            "broker": ("sqlalchemy", "numpy", "PIL/", "_cbor2"),
            "core": ("numpy", "PIL/", "imagecodecs", "openjpeg"),
            "intake": ("numpy", "PIL/", "imagecodecs", "openjpeg"),
        }
        found = [f"{part}: {name}" for part, names in forbidden.items() for name in names if name in maps[part]]
        assert not found
        total_mib = gateway.pss_bytes() / 2**20
        print(f"all processes of an idle gateway: {total_mib:.0f} MiB")
        assert total_mib < 300


@pytest.mark.parametrize(
    ("package", "library", "homes"),
    [
        ("gateway", "paho", {"gateway/delivery/link.py"}),
        ("gateway", "pynetdicom", {"gateway/middleware"}),
        (
            "gateway",
            "sqlalchemy",
            {
                "gateway/management",
                "gateway/app.py",
                "gateway/app_hl7.py",
                "gateway/app_import.py",
                "gateway/app_pacs.py",
                "gateway/app_status.py",
                "gateway/app_upload.py",
                "gateway/delivery",
            },
        ),
        ("gateway", "aiohttp", {"gateway/console", "gateway/middleware/pacs/web.py"}),
        ("gateway", "hl7", {"gateway/middleware/adt"}),
        ("gateway", "segno", {"gateway/cli.py"}),
        ("gateway", "rich", {"gateway/cli_support.py"}),
    ],
)
def test_one_fact_has_one_home(package: str, library: str, homes: set[str]) -> None:
    users = set()
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            if any(name.partition(".")[0] == library for name in names):
                users.add(str(path.relative_to(ROOT)))
    assert users, f"nobody uses {library}"
    strays = {user for user in users if not any(user == home or user.startswith(f"{home}/") for home in homes)}
    assert not strays


def test_modules_can_be_read_in_a_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in (ROOT / "gateway").rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 330
    }
    assert not long


def test_functions_can_be_seen_whole() -> None:
    long = {}
    for path in (ROOT / "gateway").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > 60:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = length
    assert not long
