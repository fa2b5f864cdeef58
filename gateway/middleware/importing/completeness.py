"""Whether a file is still being written, as far as the system can say."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path


def has_writer(path: Path) -> bool | None:
    """Whether somebody has the file open for writing; None where the system does not say. Raises FileNotFoundError.

    By a read lease, which Linux grants only while there is no writer, on the caller's own files and on file systems of
    this machine. It is given back at once.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except PermissionError:
        return None
    try:
        # Who opens the file in the moment between has SIGIO sent, which would end this process; SIGURG is ignored.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    else:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return False
    finally:
        os.close(fd)
