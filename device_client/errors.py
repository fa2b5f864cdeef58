"""What can go wrong on a device: one small tree. The text is what its user reads, so it says what to do.

DeviceError
├── NotEnrolled      the state folder holds no device
├── AlreadyEnrolled  the state folder holds one
├── EnrolmentFailed  the link is expired, used, or does not lead to its gateway
├── Busy             another process owns the state folder
├── NotRunning       asked for what only a running process knows
├── LeaseEnded       the store is locked until the device has connected
├── StoreBroken      a file of the store is not what was written
├── NoSuchStudy      no study, or several, for what was asked
├── Incomplete       a layer is not here as a whole
├── ViewerMissing    decoding needs libraries that are not installed
├── LinkFailed       the broker cannot be reached, or the connection ended
│   └── LinkRefused  the broker does not take the credentials
├── WipeOrdered      the gateway orders the device to erase itself
├── DeviceWiped      it has erased itself
└── Silent           the gateway did not answer in time

No text holds a patient's name or number, a DICOM UID, a key or a pixel.
"""

from typing import Any


class DeviceError(Exception):
    """Base of all errors of the device."""


class NotEnrolled(DeviceError):
    """The state folder holds no device."""

    def __init__(self) -> None:
        """Say how to enrol."""
        super().__init__("this state folder holds no enrolled device: run `mpacs-device enrol LINK` first")


class AlreadyEnrolled(DeviceError):
    """The state folder holds a device."""

    def __init__(self) -> None:
        """Say how to replace it."""
        super().__init__(
            "this state folder already holds an enrolled device: choose another with --state, "
            "or give --replace to forget it and all that it received"
        )


class EnrolmentFailed(DeviceError):
    """The link is expired, used, or does not lead to its gateway."""


class Busy(DeviceError):
    """Another process owns the state folder."""

    def __init__(self) -> None:
        """Say who."""
        super().__init__(
            "another mpacs-device process owns this state folder: end it first, or choose another folder with --state"
        )


class NotRunning(DeviceError):
    """Asked for what only a running process knows."""

    def __init__(self) -> None:
        """Say how to start one."""
        super().__init__("no process runs for this state folder: start `mpacs-device run` first")


class LeaseEnded(DeviceError):
    """The store is locked until the device has connected."""

    def __init__(self) -> None:
        """Say how to renew it."""
        super().__init__(
            "the lease of this device has ended and its store is locked: "
            "the device must connect to its gateway to renew it (`mpacs-device run`)"
        )


class StoreBroken(DeviceError):
    """A file of the store is not what was written."""


class NoSuchStudy(DeviceError):
    """No study, or several, for what was asked."""


class NotGiven(DeviceError):
    """What this device shows is given to nobody as files."""

    def __init__(self) -> None:
        """Say who may."""
        super().__init__(
            "this is a ward's device, which shows pictures and gives none away: "
            "export on a doctor's or the patient's device"
        )


class Incomplete(DeviceError):
    """A layer is not here as a whole."""


class ViewerMissing(DeviceError):
    """Decoding needs libraries that are not installed."""

    def __init__(self) -> None:
        """Say how to install them."""
        super().__init__(
            "decoding the layer diagnostic needs numpy, Pillow, OpenJPEG and imagecodecs: install them with "
            "`pip install 'mpacs-edge[viewer]'`"
        )


class LinkFailed(DeviceError):
    """The broker cannot be reached, or the connection ended."""


class LinkRefused(LinkFailed):
    """The broker does not take the credentials."""


class WipeOrdered(DeviceError):
    """The gateway orders the device to erase itself."""

    def __init__(self) -> None:
        """Say what happens."""
        super().__init__("the gateway orders this device to erase what it received")


class DeviceWiped(DeviceError):
    """It has erased itself."""

    def __init__(self) -> None:
        """Say what is left."""
        super().__init__(
            "this device was wiped by its gateway: nothing that it received is left, nor are its keys; "
            "to use it again, ask for a new enrolment link"
        )


class Silent(DeviceError):
    """The gateway did not answer in time."""


def weightiest(group: BaseExceptionGroup[Any]) -> DeviceError:
    """Several parts notice a connection's end at once: what is to be said of it. A wipe comes first, then the lease."""
    found = [weightiest(one) if isinstance(one, BaseExceptionGroup) else one for one in group.exceptions]
    for kind in (DeviceWiped, WipeOrdered, LeaseEnded):
        for error in found:
            if isinstance(error, kind):
                return error
    first = found[0]
    if isinstance(first, DeviceError):
        return first
    return LinkFailed(f"the disk does not take what came ({first.strerror})")
