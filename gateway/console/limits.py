"""What a stranger can cost the console, in one place. The defaults suit a Raspberry Pi that runs the whole gateway."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes; the number of all connections is ``https.connections`` in gateway.yaml."""

    passing: int = 64
    """Connections that are no bridge to the broker; a browser opens about six. Beyond, the oldest makes room."""
    handshake_s: float = 10.0
    header_s: float = 20.0
    """A request's header must have come by then, the first of a connection as well as a later one."""
    stall_s: float = 60.0
    """A peer that takes nothing for so long is let go."""
    connect_s: float = 5.0
    """To the broker."""
    first_s: float = 10.0
    """A client's CONNECT follows the WebSocket's opening at once; the broker judges it."""
    idle_s: float = 1000.0
    """The broker ends a client after 1.5 times its keepalive, at most 900 s; this is for a broker that does not."""
    goodbye_s: float = 3.0
    frame_bytes: int = 512 * 1024
    """From a browser; an MQTT packet is at most 320 KiB, and a client may put several into a frame."""
