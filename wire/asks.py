"""What a device asks beyond what is announced to it, and what is answered: search, retrieval, sharing, uploads.

Every request names on whose behalf it is made: a recipient of the device. Studies are named by StudyInstanceUID, since
they need not be announced. A study or a person that is unknown and one that the recipient may not know of are answered
alike, byte for byte.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from wire import limits
from wire.fields import (
    Code,
    CodePattern,
    DateRange,
    Digest,
    Identifier,
    Key,
    Kind,
    Label,
    Layer,
    Pages,
    Pattern,
    Ranges,
    Ref,
    Text,
    Time,
    Uid,
    Uint,
)

Media = Literal["image/jpeg", "image/png", "image/tiff", "application/pdf", "application/dicom"]
"""What may be sent up; decoded in a process of its own before it is believed."""
Page = Annotated[int, Meta(ge=0, lt=limits.MAX_SEARCH_PAGES)]


# ── requests ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Search(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="search"):
    """Studies that match all keys, in the gateway's own store and in each PACS; answered Found. Empty matches all."""

    kind: Kind
    recipient: Ref
    PatientName: Pattern
    PatientID: Pattern
    AccessionNumber: Pattern
    StudyDate: DateRange
    ModalitiesInStudy: Annotated[list[Code], Meta(max_length=8)]
    BodyPartExamined: CodePattern
    StudyDescription: Pattern
    page: Page


class Retrieve(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="retrieve"):
    """Bring a study from where it lies, and announce it to the recipient; answered Progress, then Done."""

    kind: Kind
    recipient: Ref
    study: Uid


class Directory(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="directory"):
    """With whom the recipient may share; ``name`` is a pattern of their names or identifiers. Answered People."""

    kind: Kind
    recipient: Ref
    name: Pattern
    page: Page


class Share(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="share"):
    """Announce a study to another recipient, too, until ``until``; 0 is until it is taken back."""

    kind: Kind
    recipient: Ref
    study: Uid
    to_kind: Kind
    to: Ref
    until: Time


class Unshare(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="unshare"):
    """Take back what this recipient shared; also where it shared nothing, the answer is Done."""

    kind: Kind
    recipient: Ref
    study: Uid
    to_kind: Kind
    to: Ref


class Release(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="release"):
    """Let the study's patient have it."""

    kind: Kind
    recipient: Ref
    study: Uid


class BreakGlass(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="break_glass"):
    """Attend a patient in an emergency, for a time that the site sets; answered Granted. It is shown and recorded."""

    kind: Kind
    recipient: Ref
    PatientID: Identifier
    IssuerOfPatientID: Pattern
    reason: Annotated[Text, Meta(min_length=1)]


class Receipts(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="receipts"):
    """Who received and opened a study; answered Account."""

    kind: Kind
    recipient: Ref
    study: Uid


class Upload(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="upload"):
    """A file for a patient, sealed as an object of layer ``original``; asked until the answer is Stored.

    ``study`` names the study that it belongs to, or is empty: then the gateway makes one. ``taken`` is when the picture
    was taken or the document written. ``size``, ``key`` and ``manifest`` are those of an ObjectEntry; the plaintext is
    the file itself.
    """

    kind: Kind
    recipient: Ref
    PatientID: Identifier
    IssuerOfPatientID: Pattern
    study: Annotated[str, Meta(pattern=r"\A([0-9]+(\.[0-9]+)*)?\Z", max_length=64)]
    media: Media
    description: Pattern
    taken: Time
    object: Ref
    key: Key
    size: Annotated[int, Meta(ge=1, le=limits.MAX_UPLOAD_BYTES)]
    manifest: Digest


# ── answers ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Place(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Where a study lies: in the gateway's own store or not, and in which PACS."""

    study: Uid
    own: bool
    pacs: Annotated[list[Label], Meta(max_length=16)]


class Found(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="found"):
    """A page of studies, the latest first.

    ``attributes`` is deflated ``{"studies": [{…}, …]}`` in the DICOM JSON model, one for each of ``studies``, which say
    where they lie. ``more``: there is a further page. ``silent`` are the PACS that did not answer.
    """

    studies: Annotated[list[Place], Meta(max_length=limits.MAX_HITS)]
    attributes: Annotated[bytes, Meta(max_length=limits.MAX_MESSAGE_BYTES)]
    more: bool
    silent: Annotated[list[Label], Meta(max_length=16)]


class Progress(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="progress"):
    """So many instances are here, of so many (0: not known yet). Not the last answer to its request."""

    here: Uint
    of: Uint


class Person(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """Somebody, or some ward: reference, identifier and name."""

    kind: Kind
    recipient: Ref
    identifier: Text
    name: Text


class People(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="people"):
    """A page of the directory, by kind and name. ``more``: there is a further page."""

    people: Annotated[list[Person], Meta(max_length=limits.MAX_HITS)]
    more: bool


class Granted(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="granted"):
    """The recipient attends the patient until then."""

    until: Time


class Read(Struct, frozen=True, forbid_unknown_fields=True, array_like=True):
    """A study reached somebody in a layer, or was opened there."""

    kind: Kind
    identifier: Text
    name: Text
    layer: Layer
    event: Literal["received", "opened"]
    at: Time


class Account(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="account"):
    """Who received and opened a study, the latest first."""

    read: Annotated[list[Read], Meta(max_length=limits.MAX_READ)]


class Wanted(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="wanted"):
    """What the gateway lacks of an upload: publish it, then ask again. Nothing lacks while the file is looked at."""

    pages: Pages
    ranges: Ranges


class Stored(Struct, frozen=True, forbid_unknown_fields=True, tag_field="op", tag="stored"):
    """The upload lies in the gateway's store as this instance."""

    StudyInstanceUID: Uid
    SOPInstanceUID: Uid


Asked = Search | Retrieve | Directory | Share | Unshare | Release | BreakGlass | Receipts | Upload
Told = Found | Progress | People | Granted | Account | Wanted | Stored
