"""``pacs add`` and ``pacs remove`` change their lines of gateway.yaml and no other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gateway import app, config_edit
from gateway import config as configuration
from gateway.config import Config, ConfigError
from gateway.config_pacs import Pacs

HEAD = "# ours\nsite: office   # of the house\n\n"
MAIN = Pacs("main", aet="MAIN", host="192.0.2.1", port=104)
WEB = Pacs("web", dicomweb="https://pacs.example/dicom-web", token_file="/etc/token")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / configuration.FILE_NAME).write_text(text)
    return folder


def text_of(folder: Path) -> str:
    return (folder / configuration.FILE_NAME).read_text()


@pytest.mark.parametrize(
    "rest",
    [
        "",
        "pacs: []\n",
        "pacs: []   # none yet\nstore: {archive_gb: 5}\n",
        "pacs:\n- name: other\n  dicomweb: https://h/w   # theirs\n\n# the store\nstore:\n  archive_gb: 5\n",
        "pacs:\n    # first\n    - name: other\n      aet: O\n      host: h\n      port: 1\nwards: {burned_in: show}\n",
    ],
)
def test_what_is_added_and_removed_leaves_the_rest(tmp_path: Path, rest: str) -> None:
    folder = write(tmp_path, HEAD + rest)
    before = configuration.load(folder)
    config_edit.add_pacs(folder, MAIN)
    config_edit.add_pacs(folder, WEB)
    assert configuration.load(folder).pacs == [*before.pacs, MAIN, WEB]
    assert text_of(folder).startswith(HEAD)
    for comment in ("# theirs", "# the store", "# first"):
        assert (comment in text_of(folder)) == (comment in rest)
    with pytest.raises(ConfigError, match="two are named main"):
        config_edit.add_pacs(folder, MAIN)
    config_edit.remove_pacs(folder, "main")
    assert configuration.load(folder).pacs == [*before.pacs, WEB]
    config_edit.remove_pacs(folder, "web")
    assert configuration.load(folder) == before
    with pytest.raises(ConfigError, match="no PACS is named web"):
        config_edit.remove_pacs(folder, "web")


def test_a_file_that_only_a_person_can_edit_is_left_alone(tmp_path: Path) -> None:
    folder = write(tmp_path, HEAD + "pacs: [{name: other, dicomweb: 'https://h/w'}]\n")
    before = text_of(folder)
    with pytest.raises(ConfigError, match="by hand"):
        config_edit.add_pacs(folder, MAIN)
    assert text_of(folder) == before


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    state = app.State(tmp_path / "state")
    app.init(state, Config(site="office"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(Path(sys.executable).with_name("mpacs-gateway")), "--state", str(state.root), "pacs", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    assert run("add", "Main", "--dicomweb", "https://h").returncode == 2
    missing = run("add", "main", "--aet", "MAIN")
    assert missing.returncode == 1 and "aet, host and port, or dicomweb" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert run("add", "main", "--aet", "MAIN", "--host", "h", "--port", "104").returncode == 0
    assert yaml.safe_load(text_of(state.root))["pacs"] == [{"name": "main", "aet": "MAIN", "host": "h", "port": 104}]
    assert '"where": "h:104"' in run("list", "--json").stdout
    assert run("remove", "main").returncode == 0
    unknown = run("echo", "main")
    assert unknown.returncode == 1 and "no PACS of that name" in unknown.stderr
    absent = run("add", "secured", "--aet", "A", "--host", "h", "--port", "1", "--tls", "--authority", "none.pem")
    assert absent.returncode == 0
    unreadable = run("echo", "secured")
    assert unreadable.returncode == 1 and "pacs secured: " in unreadable.stderr
