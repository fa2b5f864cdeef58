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

_STABLE_S = 30.0
_PR_SET_PDEATHSIG = 1


class StartFailed(Exception):  # reads as what happened
    """A process did not get ready, however often it was tried; the reason is in its own last lines of the log."""


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
    failed: asyncio.Event = field(default_factory=asyncio.Event)
    facts: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a child may take to get ready and to end; how often it is tried at first, and how soon again."""

    ready_s: float = 60.0
    stop_s: float = 6.0
    first_tries: int = 3
    """A second and third one, because a port may still be held by a process of a gateway that was killed."""
    again_s: tuple[float, float] = (0.4, 10.0)


class Supervisor:
    """Runs children until it is asked to stop."""

    def __init__(self, children: Sequence[Child], patience: Patience | None = None) -> None:
        """They are started in this order, each once the one before is ready."""
        self._children = children
        self._patience = patience or Patience()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """End all children, in the reverse order."""
        self._stopping.set()

    async def run(self, all_ready: asyncio.Event) -> None:
        """Supervise; sets ``all_ready`` once every child was ready for a first time. Returns when all have ended.

        Raises StartFailed, with all children ended, if one of them never got ready.
        """
        tasks: list[asyncio.Task[None]] = []
        failed: Child | None = None
        for child in self._children:
            tasks.append(asyncio.create_task(self._keep(child)))
            await _first(child.ready, child.failed, self._stopping)
            if self._stopping.is_set():
                break
            if child.failed.is_set():
                failed = child
                break
        else:
            all_ready.set()
            await self._stopping.wait()
        self._stopping.set()
        for child, task in reversed(list(zip(self._children, tasks, strict=False))):
            await self._end(child)
            await task
        if failed is not None:
            raise StartFailed(f"{failed.name} does not start; the lines above say why")

    async def _keep(self, child: Child) -> None:
        first_s, longest_s = self._patience.again_s
        delay_s, was_ready = first_s, False
        while not self._stopping.is_set():
            started = time.monotonic()
            code = await self._once(child)
            was_ready = was_ready or child.ready.is_set()
            child.ready.clear()
            if self._stopping.is_set():
                return
            child.restarts += 1
            if not was_ready and child.restarts >= self._patience.first_tries:
                _log.error("%s ended with %s and was never ready", child.name, code)
                child.failed.set()
                return
            if time.monotonic() - started > _STABLE_S:
                delay_s = first_s
            _log.warning("%s ended with %s; it is started again in %.1f s", child.name, code, delay_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay_s)
            delay_s = min(delay_s * 2, longest_s)

    async def _once(self, child: Child) -> int | None:
        """Start it and wait for its end; its exit code, or None if it could not be started."""
        try:
            process = await asyncio.create_subprocess_exec(
                *child.command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError as error:
            _log.error("%s cannot be started: %s", child.name, error.strerror)
            return None
        child.process = process
        if self._stopping.is_set():
            process.kill()  # asked to stop while it was being started: nobody else knows of it
            return await process.wait()
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), self._patience.ready_s)
            facts = json.loads(line) if line else None
        except TimeoutError:
            _log.error("%s was not ready within %.0f s", child.name, self._patience.ready_s)
            process.kill()
            return await process.wait()
        except ValueError:
            _log.error("%s said something else than that it is ready", child.name)
            process.kill()
            return await process.wait()
        if isinstance(facts, dict):
            child.facts = facts
            child.ready.set()
        while await process.stdout.read(65536):
            pass
        return await process.wait()

    async def _end(self, child: Child) -> None:
        process = child.process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._patience.stop_s)
        except TimeoutError:
            _log.error("%s did not end when asked and is killed", child.name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()


async def _first(*events: asyncio.Event) -> None:
    """Wait for any of the events."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
