"""The types of the messages' fields, with their bounds."""

from typing import Annotated, Literal

from msgspec import Meta

from wire import limits

Uint = Annotated[int, Meta(ge=0, lt=2**53)]
Sequence = Annotated[int, Meta(ge=1, lt=2**53)]
Time = Annotated[int, Meta(ge=0, lt=2**53)]
Ref = Annotated[bytes, Meta(min_length=16, max_length=16)]
Key = Annotated[bytes, Meta(min_length=32, max_length=32)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Point = Annotated[bytes, Meta(min_length=65, max_length=65)]
Label = Annotated[str, Meta(min_length=1, max_length=128)]
Epoch = Annotated[int, Meta(ge=1, lt=2**32)]
Layer = Literal["thumbnail", "display", "diagnostic", "report", "video", "original"]
Kind = Literal["patient", "doctor", "ward"]
Uid = Annotated[str, Meta(pattern=r"\A[0-9]+(\.[0-9]+)*\Z", max_length=64)]
"""A DICOM UID (PS3.5 section 9.1); zeros that lead a component are let pass, because scanners write them."""

_TEXT = r"\A[^\x00-\x1f\x7f-\x9f]*\Z"
Text = Annotated[str, Meta(pattern=_TEXT, max_length=256)]
"""One line without control characters; empty where there is nothing to say."""
Identifier = Annotated[str, Meta(pattern=_TEXT, min_length=1, max_length=64)]
"""An identifier as DICOM has it (PS3.5 section 6.2, LO); as a key of a search it may be a pattern."""
Pattern = Annotated[str, Meta(pattern=_TEXT, max_length=64)]
"""A key of a search: ``*`` stands for any characters, ``?`` for one (PS3.4 section C.2.2.2.4); empty matches all."""
Code = Annotated[str, Meta(pattern=r"\A[A-Z0-9 _]{1,16}\Z")]
"""A code string (PS3.5 section 6.2, CS)."""
CodePattern = Annotated[str, Meta(pattern=r"\A[A-Z0-9 _*?]{0,16}\Z")]
DateRange = Annotated[str, Meta(pattern=r"\A([0-9]{8}|[0-9]{8}-|-[0-9]{8}|[0-9]{8}-[0-9]{8})?\Z")]
"""A date or a range of dates (PS3.4 section C.2.2.2.5.1); empty matches all."""
Segment = Annotated[int, Meta(ge=0, lt=limits.MAX_SEGMENTS)]
Pages = Annotated[list[Annotated[int, Meta(ge=0, lt=limits.MAX_PAGES)]], Meta(max_length=16)]
Ranges = Annotated[list[tuple[Segment, Segment]], Meta(max_length=limits.MAX_RANGES)]
