"""The intake process: a storage SCP that shares its interpreter with nothing else.

Importing this module is cheap; what it needs is imported when it runs, without numpy and Pillow: pydicom loads
both where it finds them, and intake touches no pixel.
"""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.middleware.arrival import Arrival, StoreOutcome
from gateway.middleware.refusal import Refusal

if TYPE_CHECKING:
    from gateway.middleware.commitment import Commitment
    from gateway.middleware.scp_settings import ScpSettings

log = logging.getLogger(__name__)

_HEAVY = ("numpy", "PIL")


def import_light() -> None:
    """Import the DICOM libraries without the imaging libraries that they would pull in.

    For a process that decodes no pixel: pydicom in it works as where numpy is not installed.
    """
    absent = [name for name in _HEAVY if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # the documented way to make an import fail
    try:
        import gateway.middleware.scp  # noqa: F401  # for its imports
    finally:
        for name in absent:
            del sys.modules[name]


def run_intake(
    settings: ScpSettings,
    archive_root: Path,
    on_arrival: Callable[[Arrival], StoreOutcome],
    on_association_end: Callable[[frozenset[str]], None],
    on_refused: Callable[[Refusal], None],
    ready: Callable[[int], None],
    stop: threading.Event,
    secured: ScpSettings | None = None,
    on_commitment: Callable[[Commitment], bool] = lambda _: False,
) -> None:
    """Receive until ``stop`` is set. Call it in the process's main thread, or in any.

    Args:
        settings: of the SCP; port 0 lets the system choose.
        archive_root: the archive's folder; temporary files of a process that died are swept first.
        on_arrival: see ``StorageScp``.
        on_association_end: see ``StorageScp``.
        on_refused: see ``StorageScp``.
        ready: told the port once senders can connect.
        stop: set by whoever wants it to end; also a ``multiprocessing.Event`` will do.
        secured: of a second one, over TLS; None: there is none.
        on_commitment: see ``StorageScp``.

    Raises:
        OSError: a port is taken, or the archive's folder or a certificate cannot be used.
    """
    import_light()
    from gateway.middleware.archive import Archive  # after import_light
    from gateway.middleware.scp import StorageScp  # after import_light

    keep_identities_out_of_logs()
    archive = Archive(archive_root)
    swept = archive.sweep()
    if swept:
        log.info("swept %d temporary files that a cut left", swept)
    several = [
        StorageScp(one, archive, on_arrival, on_association_end, on_refused, on_commitment)
        for one in (settings, secured)
        if one
    ]
    try:
        ports = [scp.start() for scp in several]
        ready(ports[0])
        stop.wait()
    finally:
        for scp in several:
            scp.stop()


def keep_identities_out_of_logs() -> None:
    """In a process that reads headers: pydicom's warnings quote values, and so do tracebacks of threads that fail."""
    warnings.simplefilter("ignore")
    threading.excepthook = lambda args: log.error(
        "thread %s ended: %s", args.thread.name if args.thread else "?", args.exc_type.__name__
    )
