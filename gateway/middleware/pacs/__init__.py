"""The other PACS: what is asked of them, how it is fetched, and the one service through which all others ask."""
