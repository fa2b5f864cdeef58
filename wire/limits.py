"""The bounds of the contract, in one place. Sizes in bytes, times in seconds unless the name says otherwise."""

CHUNK_BYTES = 16 * 1024
TAG_BYTES = 16
CHUNKS_PER_SEGMENT = 4
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
SEGMENT_BYTES = CHUNKS_PER_SEGMENT * SEALED_CHUNK_BYTES
SEAL_HEADER_BYTES = 24 + 32
"""Salt and commitment, which stand before the first chunk and so travel in segment 0."""
MAX_SEGMENT_BYTES = SEAL_HEADER_BYTES + SEGMENT_BYTES
"""Segment 0 of an object of several."""

MAX_PACKET_BYTES = 320 * 1024
MAX_ANNOUNCEMENT_BYTES = 16 * 1024
MAX_MESSAGE_BYTES = 256 * 1024
MAX_DEPTH = 8

MAX_SEGMENTS = 2**18
MAX_OBJECT_BYTES = MAX_SEGMENTS * CHUNKS_PER_SEGMENT * CHUNK_BYTES - 1
"""16 GiB less one byte: the empty chunk after a last full one would be a segment too many."""
PAGE_DIGESTS = 1024
DIGEST_BYTES = 32
MAX_PAGES = MAX_SEGMENTS // PAGE_DIGESTS
MAX_OBJECT_HEADER_BYTES = 1024 * 1024
MAX_PARTS = 8192
MAX_ATTRIBUTES_BYTES = 4 * 1024 * 1024
"""Inflated DICOM JSON of one announcement or object header."""

MAX_SERIES = 256
"""Series that one object holds, or one order names."""

MAX_CREDIT = 64
MAX_RANGES = 64
MAX_STUDIES = 4096
"""Current studies of one recipient: a head of so many, and a sync that names them, fit a message."""

MAX_HITS = 50
"""Studies or people in one answer; the rest stands on further pages."""
MAX_SEARCH_PAGES = 200
MAX_READ = 256
MAX_UPLOAD_BYTES = 2**30
"""Of one file that a device sends; a gateway may set less."""

GRACE_S = 5
"""How long a head may be newer than the announcement it names, before the device says that it is not current."""
