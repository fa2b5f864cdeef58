"""The broker as a process of its own: signals, descriptors, and the death of its parent."""

import asyncio
import ctypes
import os
import resource
import signal

from broker.errors import BrokerFailure

PR_SET_PDEATHSIG = 1
"""prctl(2)"""

SPARE_DESCRIPTORS = 64


def die_with_parent() -> None:
    """Ask the kernel for SIGTERM when the parent ends, so that a killed gateway leaves no broker behind.

    The signal comes when the parent's *thread* that started this process ends (prctl(2)): start it from one that stays.
    """
    parent = os.getppid()
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0) != 0:
        raise BrokerFailure(f"--die-with-parent: {os.strerror(ctypes.get_errno())}")
    # It may have ended before the kernel was asked; whoever adopted this process will not.
    if os.getppid() != parent or parent == 1:
        raise BrokerFailure("--die-with-parent: the parent has already ended")


def allow_descriptors(connections: int) -> None:
    """Raise the soft limit on descriptors so that all configured connections fit, as far as the hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )


def stop_request() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets; in force at once, so whoever reads the ready line may send one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
