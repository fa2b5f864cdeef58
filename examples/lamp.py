"""Lights a lamp when a study is complete on this device, and puts its pictures into a folder.

    python examples/lamp.py /var/lib/mpacs-device /srv/pictures

Needs a running `mpacs-device run` or `mpacs-device display`. In place of the lamp a line is printed.
"""

import sys

from device_client.api import Device


def main(state: str, pictures: str) -> None:
    """Follow the device until it ends."""
    with Device(state) as device:
        for event in device.events("complete", "gone"):
            if event["event"] == "complete":
                written = device.export(event["study"], f"{pictures}/{event['study']}")
                print(f"lamp on: {written['pictures']} pictures", flush=True)
            elif event["event"] == "gone":
                print("lamp off", flush=True)
            else:
                print("following", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
