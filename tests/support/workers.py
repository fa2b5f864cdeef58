"""Which render workers this process has left behind; other tests' brokers may be its children too."""

import contextlib

import psutil


def render_workers() -> list[psutil.Process]:
    """The render workers among this process's descendants."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "gateway.management.worker_main" in child.cmdline():
                found.append(child)
    return found
