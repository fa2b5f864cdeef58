"""What wire may load: no IO and no clock anywhere, and for topics no cryptography either."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import wire

FOLDER = Path(wire.__path__[0])
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
NO_IO = {
    "asyncio", "socket", "ssl", "selectors", "threading", "subprocess", "multiprocessing", "http", "urllib", "pathlib",
    "tempfile", "shutil", "io", "sqlite3", "logging", "paho", "amqtt", "pydicom", "pynetdicom", "numpy", "sqlalchemy",
}  # fmt: skip
NO_CLOCK = {"time", "datetime", "sched"}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Import():
                found.update(alias.name.partition(".")[0] for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                found.add(module.partition(".")[0])
    return found


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_no_io_and_no_clock(module: str) -> None:
    """Times come in as arguments, bytes go out as results."""
    assert not _imported(FOLDER / f"{module}.py") & (NO_IO | NO_CLOCK)


@pytest.mark.parametrize("module", MODULES)
def test_module_opens_no_file(module: str) -> None:
    """``os`` is there for random bytes alone."""
    for node in ast.walk(ast.parse((FOLDER / f"{module}.py").read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"open", "print", "input", "exec", "eval"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert node.attr == "urandom"


@pytest.mark.parametrize("module", ["topics", "names", "errors", "bits", "sender"])
def test_light_modules_load_neither_cryptography_nor_decoders(module: str) -> None:
    """In a fresh interpreter: a broker that imports the access rule stays unable to decrypt."""
    code = f"import wire.{module}, sys; print(' '.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert f"wire.{module}" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {"cryptography", "cbor2", "_cbor2", "msgspec"}
    assert not {"wire.seal", "wire.sign", "wire.hpke", "wire.messages"} & set(loaded)


def test_the_package_itself_is_a_docstring() -> None:
    """A re-export here would load everything for everybody."""
    body = ast.parse((FOLDER / "__init__.py").read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
