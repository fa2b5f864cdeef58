"""What can be wrong with bytes, names and requests: one small tree.

WireError
├── NameInvalid        a site, identifier or reference is not of its form
├── TopicInvalid       a topic or filter is not of its form
├── Malformed          the bytes are not a legal message
├── TooLarge           a bound of the contract is exceeded
├── SignatureInvalid   the signature does not fit the bytes, the topic or the key
├── SealBroken         wrong key or context, or the ciphertext was changed
├── DigestMismatch     a segment, page or manifest is not the one that was announced
├── Stale              older than what is already known
├── Missing            asked to open what has not arrived yet
└── Untrusted          the chain of keys does not lead to the pinned root

Texts never hold an identity, a key or a pixel; ``code`` is what programs compare and what test vectors name.
"""

from typing import ClassVar


class WireError(Exception):
    """Base of all errors of the wire contract."""

    code: ClassVar[str] = "wire"


class NameInvalid(WireError):
    """A site, identifier or reference is not of its form."""

    code = "name-invalid"


class TopicInvalid(WireError):
    """A topic or a topic filter is not of its form."""

    code = "topic-invalid"


class Malformed(WireError):
    """The bytes are not a legal message."""

    code = "malformed"


class TooLarge(WireError):
    """A bound of the contract is exceeded."""

    code = "too-large"


class SignatureInvalid(WireError):
    """The signature does not fit the bytes, the topic or the key."""

    code = "signature-invalid"


class SealBroken(WireError):
    """Wrong key or context, or the ciphertext was changed."""

    code = "seal-broken"


class EpochUnknown(SealBroken):
    """Rightly signed, and sealed for an epoch whose key is not here: perhaps it only has not come yet."""


class DigestMismatch(WireError):
    """A segment, manifest page or manifest is not the one that was announced."""

    code = "digest-mismatch"


class Stale(WireError):
    """Older than what is already known, or seen before."""

    code = "stale"


class Missing(WireError):
    """Asked to open what has not arrived yet."""

    code = "missing"


class Untrusted(WireError):
    """The chain of keys does not lead from the pinned root."""

    code = "untrusted"
