"""What ``mpacs-device run`` prints: one line for what matters."""

import sys

import click

from device_client.events import Event


class Lines:
    """One line for what matters; opaque references only, because it may go to a log."""

    _PROBLEMS = (
        "refused",
        "order-refused",
        "wiping",
        "disconnected",
        "lease-ended",
        "revoked",
        "broken",
        "disk-full",
        "no-room",
        "evicted",
    )

    def __init__(self, problems_only: bool) -> None:
        """``problems_only`` where a bar shows the rest."""
        self._problems_only = problems_only
        self._last = ""

    def take(self, event: Event) -> None:
        """An event of the agent."""
        name = event["event"]
        if name in ("connected", "announced", "complete", "gone"):
            if self._problems_only:
                return
            study = f" {event['study']}" if "study" in event else ""
            growing = " (growing)" if event.get("settled") is False else ""
            self._print(f"{name}{study}{growing}", err=False)
        elif name in self._PROBLEMS:
            facts = [str(event[key]) for key in ("reason", "recipient", "object", "objects", "code") if key in event]
            self._print(": ".join([name, *facts]), err=True)

    def _print(self, line: str, err: bool) -> None:
        # Reconnecting for hours says the same again and again: once is enough.
        if not err or line != self._last:
            click.echo(line, err=err)
            sys.stdout.flush()
        self._last = line
