"""Tells systemd that the process is ready and alive (sd_notify(3)): one datagram to the socket that it names."""

import asyncio
import os
import socket
import time

_LOOP_S = 1.0
_SHARE = 3
"""So many signs of life in the time that the unit allows."""


class Watchdog:
    """Does nothing where no service manager asks for it."""

    def __init__(self) -> None:
        """Read what the manager wants: ``NOTIFY_SOCKET``, and ``WATCHDOG_USEC`` in microseconds."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        allowed = os.environ.get("WATCHDOG_USEC", "")
        self._every_s = int(allowed) / 1e6 / _SHARE if allowed.isdecimal() else 0.0
        self._told_at = 0.0
        self._ready = False

    async def keep(self) -> None:
        """Sign until cancelled: the event loop goes round."""
        while True:
            self.alive()
            await asyncio.sleep(_LOOP_S)

    def alive(self) -> None:
        """The loop went round. Cheap enough for every round."""
        if not self._address:
            return
        if not self._ready:
            self._ready = True
            self._tell("READY=1")
        now = time.monotonic()
        if self._every_s and now - self._told_at >= self._every_s:
            self._told_at = now
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
                client.sendto(text.encode(), address)
        except OSError:
            return  # a manager that does not listen notices that itself
