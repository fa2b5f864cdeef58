"""The index of a state folder that was just made."""

import subprocess
import sys
from pathlib import Path


def test_every_table_is_there_before_anything_else_was_imported(tmp_path: Path) -> None:
    """In a fresh interpreter: a command that comes before the first run finds all tables, whatever it imports later."""
    names = """
import pkgutil, importlib, sys
from pathlib import Path
from gateway import app
from gateway.config import Config
state = app.State(Path(sys.argv[1]))
app.init(state, Config(site="tables"))
opened = app.open_index(state, Config(site="tables"))
import sqlalchemy as sa
there = set(sa.inspect(opened).get_table_names())
import gateway.management.index as index
for module in pkgutil.iter_modules(index.__path__):
    importlib.import_module(f"gateway.management.index.{module.name}")
from gateway.management.index.engine import metadata
print(sorted(metadata.tables.keys() - there))
"""
    done = subprocess.run(
        [sys.executable, "-c", names, str(tmp_path / "state")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
