"""HTTPS for people: the web application's files, the way to the broker, health and metrics.

aiohttp stays in this package, and the package is imported by the core alone, when it starts.
"""
