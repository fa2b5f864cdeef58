"""The command line of a device, against one state folder."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from device_client.cli import main

DEVICE = [sys.executable, "-c", "from device_client.cli import main; main()"]


class Device:
    """The command line against one state folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "MPACS_STATE": str(folder)}
        self.started: list[subprocess.Popen[str]] = []

    def call(self, *arguments: str, code: int = 0, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end: ``run`` in a process of its own, the quick ones in this one."""
        if arguments[:1] in (("enrol",), ("studies",), ("show",), ("export",)):
            result = CliRunner().invoke(main, arguments, env=self.environment)
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
            done = subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
        else:
            done = subprocess.run(
                [*DEVICE, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s
            )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self.call(*arguments, "--json").stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*DEVICE, *arguments], env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.started.append(process)
        return process

    def close(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
