"""``python -m broker``: the same as ``mpacs-broker``."""

from broker.cli import main

main()
