"""The layers that a device takes by itself."""

DEFAULT_LAYERS = ("thumbnail", "report", "display")
"""In the order in which they are fetched: a report is small, and read first."""
