"""Why a PACS did not do what it was asked. Texts name the PACS as the configuration does, never a patient or a UID.

PacsError
├── PacsAway       not reached, cut, silent or busy: worth another try later
├── PacsRefused    it answered, and does not want to (AE title, right, credentials, SOP class)
└── QueryInvalid   the question itself is wrong
"""


class PacsError(Exception):
    """The base; ``str()`` is what users read."""


class PacsAway(PacsError):  # reads as what happened
    """The PACS cannot be reached now."""


class PacsRefused(PacsError):  # reads as what happened
    """The PACS does not do this for us."""


class QueryInvalid(PacsError):  # reads as what happened
    """A keyword or a value that no query has."""
