"""Lights a lamp when a study is complete on this device.

    python examples/lamp.py /var/lib/mpacs-display

Needs a running `mpacs-device run` or `mpacs-device display`. In place of the lamp a line is printed.
"""

import sys

from device_client.api import Device


def main(state: str) -> None:
    """Follow the device until it ends."""
    with Device(state) as device:
        for event in device.events("complete", "gone"):
            if event["event"] == "complete":
                print(f"lamp on: {device.show(event['study'])['frames']} pictures", flush=True)
            elif event["event"] == "gone":
                print("lamp off", flush=True)
            else:
                print("following", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
