"""Starts the gateway's processes, restarts the one that falls, ends them all together."""

import asyncio
import contextlib
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_log = logging.getLogger(__name__)

_READY_S = 60.0
_STOP_S = 10.0
_BACKOFF_S = (0.2, 10.0)
_STABLE_S = 30.0
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """SIGTERM to this process when the one that started it ends; ends at once if it has ended already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)


@dataclass(slots=True)
class Child:
    """One process. It prints one line of JSON when it is ready; its log goes to standard error."""

    name: str
    command: Sequence[str]
    process: asyncio.subprocess.Process | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    facts: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0


class Supervisor:
    """Runs children until it is asked to stop."""

    def __init__(self, children: Sequence[Child]) -> None:
        """They are started in this order, each once the one before is ready."""
        self._children = children
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all children, in the reverse order."""
        self._stopping.set()

    async def run(self, all_ready: asyncio.Event) -> None:
        """Supervise; sets ``all_ready`` once every child was ready for a first time. Returns when all have ended."""
        tasks = []
        for child in self._children:
            tasks.append(asyncio.create_task(self._keep(child)))
            ready = asyncio.create_task(child.ready.wait())
            stopping = asyncio.create_task(self._stopping.wait())
            await asyncio.wait({ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            stopping.cancel()
            if self._stopping.is_set():
                break
        else:
            all_ready.set()
            await self._stopping.wait()
        for child, task in reversed(list(zip(self._children, tasks, strict=False))):
            await self._end(child)
            await task

    async def _keep(self, child: Child) -> None:
        delay_s = _BACKOFF_S[0]
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._once(child)
            child.ready.clear()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > _STABLE_S:
                delay_s = _BACKOFF_S[0]
            child.restarts += 1
            _log.warning("%s ended with %s; it is started again in %.1f s", child.name, code, delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            delay_s = min(delay_s * 2, _BACKOFF_S[1])

    async def _once(self, child: Child) -> int:
        process = await asyncio.create_subprocess_exec(
            *child.command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        child.process = process
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), _READY_S)
        except (TimeoutError, ValueError):
            _log.error("%s was not ready within %.0f s", child.name, _READY_S)
            process.kill()
            return await process.wait()
        if line:
            child.facts = json.loads(line)
            child.ready.set()
            while await process.stdout.read(65536):
                pass
        return await process.wait()

    @staticmethod
    async def _end(child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_S)
        except TimeoutError:
            _log.error("%s did not end when asked and is killed", child.name)
            process.kill()
