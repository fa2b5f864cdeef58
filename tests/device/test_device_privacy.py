"""No identity, no UID and no pixel in file names, logs or files; and a light start."""

import subprocess
import sys

from device_gateway import make_study

UID = "1.2.826.0.1.3680043.8.498.6"
FORBIDDEN = ("Kim^Sora", "金^소라", "김^소라", "P-4711", "1.2.826", "Nightingale", "Chest", "20260102")


def test_nothing_names_anybody(gateway, enrolled):
    study = make_study(gateway, UID)
    marker = b"PIXELS-IN-THE-CLEAR"
    parts = [(f"{UID}.1.1", 0, 0, marker * 5000)]
    study.entries.append(gateway.seal_object("display", [f"{UID}.1"], parts, [0], batch=1).entry)
    gateway.corrupt = {(next(iter(gateway.objects)), 0)}
    gateway.announce(study)
    done = enrolled.call("run", "--once", "--timeout", "20")
    said = done.stdout + done.stderr
    assert "refused" in said and study.ref in said
    for word in FORBIDDEN:
        assert word not in said
    files = [path for path in enrolled.folder.rglob("*") if path.is_file()]
    assert len(files) > 10
    for path in files:
        content = path.read_bytes()
        assert marker not in content
        for word in FORBIDDEN:
            assert word not in str(path.relative_to(enrolled.folder))
            assert word.encode() not in content, path.name


def test_errors_name_nobody(gateway, enrolled):
    gateway.announce(make_study(gateway, UID))
    enrolled.call("run", "--once", "--timeout", "10")
    for arguments in (("show", UID + ".404"), ("export", UID, "--to", "/proc/nowhere"), ("show", "P-4711")):
        said = enrolled.call(*arguments, code=1).stderr
        assert not any(word in said for word in FORBIDDEN), said


def test_the_device_starts_light():
    """In a fresh interpreter, because a re-export somewhere may load what no import names."""
    program = """
import sys
import device_client.cli, device_client.agent, device_client.service, device_client.enrol, device_client.control
heavy = {"pydicom", "pynetdicom", "numpy", "sqlalchemy", "amqtt", "yaml", "PIL", "gateway", "broker"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}), "rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] False\n"


def test_help_loads_neither_cryptography_nor_mqtt():
    program = (
        "import sys, device_client.cli; print(sorted({'paho', 'cryptography', 'tinydb', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_each_library_has_one_home():
    program = """
import pathlib, re
homes = {"paho": {"link.py"}, "tinydb": {"catalogue.py"}, "rich": {"progress.py"}, "pygame": {"paint.py", "window.py"},
         "PIL": {"decode.py", "pictures.py"},
         "click": {"cli.py", "cli_asks.py", "cli_display.py", "cli_storage.py", "cli_support.py",
                   "cli_watch.py", "lines.py"}}
root = pathlib.Path("device_client")
for path in sorted(root.rglob("*.py")):
    for library, allowed in homes.items():
        if re.search(rf"^\\s*(from|import) {library}\\b", path.read_text(), re.M) and path.name not in allowed:
            print(path, library)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == ""
