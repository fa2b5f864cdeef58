"""A DICOM file as a source of frames: its header, checked against the limits, and one frame at a time.

Never a data set's whole array: frames are read from the file by index (PS3.5 annex A.4 for encapsulated ones).
"""

from __future__ import annotations

import io
import struct
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self

from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames, get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from gateway.management.rendering import codecs, image_pixel, native
from gateway.management.rendering import syntaxes as ts
from gateway.management.rendering.refusal import Refusal
from gateway.middleware.elements import at_pixels, read_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from gateway.management.rendering.limits import RenderLimits

_PIXEL_KEYWORDS: Final = {0x7FE00010: "PixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00008: "FloatPixelData"}
_PIXEL_VRS: Final = (b"OB", b"OW", b"OF", b"OD", b"UN")
_DEFER_BYTES: Final = 1 << 16
_HEAD_BYTES: Final = 1 << 16
_PIXEL_TAGS: Final = frozenset(
    struct.pack(order, tag >> 16, tag & 0xFFFF) for tag in _PIXEL_KEYWORDS for order in ("<HH", ">HH")
)
_RLE_BEST_RATIO: Final = 64
"""PackBits turns two bytes into 128 at most (PS3.5 G.3)."""


def size_of(path: Path) -> int:
    """In bytes. Raises ``Refusal``."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise Refusal("unreadable") from error


class FrameSource:
    """An opened file. Use as a context manager; raises ``Refusal``.

    ``header`` is the data set in front of the pixel data; ``options`` are pydicom's decoding options.
    """

    def __init__(self, path: Path, limits: RenderLimits) -> None:
        self._limits = limits
        self._low_word_first: bool | None = None
        try:
            self._file: BinaryIO = path.open("rb")
        except OSError as error:
            raise Refusal("unreadable") from error
        try:
            self.size_bytes = path.stat().st_size
            self.header, self.transfer_syntax = self._read_header(path)
            self.options = self._read_options()
            self._value_at = self._file.tell()
            self._check_limits()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._file.close()

    @property
    def number_of_frames(self) -> int:
        return int(self.options["number_of_frames"])

    @property
    def frame_bytes(self) -> int:
        """Size of one frame as native pixel data, in bytes."""
        bits = self.options["rows"] * self.options["columns"] * self.options["samples_per_pixel"]
        return (int(bits) * int(self.options["bits_allocated"]) + 7) // 8

    def span(self, first: int, count: int | None) -> int:
        """How many frames ``count`` from ``first`` on means (None: all that follow); Refusal if not all are there."""
        wanted = self.number_of_frames - first if count is None else count
        if first < 0 or wanted < 1 or first + wanted > self.number_of_frames:
            raise Refusal("no-frame")
        return wanted

    def frames(
        self, first: int, count: int, *, keep_unused_bits: bool = False, keep_colour: bool = False
    ) -> Iterator[tuple[NDArray[Any], str]]:
        """Samples of ``count`` frames from ``first`` on, each with its photometric interpretation.

        With ``keep_unused_bits`` bits above BitsStored stay as they are (overlays of old lie there), with
        ``keep_colour`` colours as they were compressed, where converting them would lose something.
        """
        if first < 0 or first + count > self.number_of_frames:
            raise Refusal("no-frame")
        options = dict(self.options)
        if keep_unused_bits:
            options["correct_unused_bits"] = False
        if keep_colour:
            options[codecs.KEEP_COLOUR] = True
        try:
            if self.transfer_syntax in ts.NATIVE:
                yield from self._native(first, count, options)
            elif self.transfer_syntax == ts.ENCAPSULATED_UNCOMPRESSED:
                for frame in self._encapsulated(first, count):
                    yield codecs.native_frame(frame, {**options, "number_of_frames": 1})
            else:
                options["number_of_frames"] = 1
                for frame in self._encapsulated(first, count):
                    yield codecs.decode_frame(frame, self.transfer_syntax, options)
        except (Refusal, MemoryError, RecursionError, GeneratorExit):
            raise
        except NotImplementedError as error:
            raise Refusal("unsupported") from error
        except Exception as error:  # codecs raise what they like; their texts may quote the data
            raise Refusal("decode") from error

    def head(self) -> bytes:
        """How the first frame's codestream begins; empty for native pixel data."""
        if self.transfer_syntax in ts.NATIVE:
            return b""
        position = self._file.tell()
        try:
            return next(self._encapsulated(0, 1))[:64]
        finally:
            self._file.seek(position)

    def own_frames(self, first: int, count: int) -> Iterator[tuple[bytes, NDArray[Any]]]:
        """The file's own compressed frames, each with what it decodes to; for encapsulated transfer syntaxes."""
        options = {**self.options, "number_of_frames": 1}
        try:
            for frame in self._encapsulated(first, count):
                yield frame, codecs.decode_frame(frame, self.transfer_syntax, options)[0]
        except (Refusal, MemoryError, RecursionError, GeneratorExit):
            raise
        except NotImplementedError as error:
            raise Refusal("unsupported") from error
        except Exception as error:  # as in ``frames``
            raise Refusal("decode") from error

    def probe(self, index: int, *, keep_unused_bits: bool) -> NDArray[Any]:
        """One frame's samples, without disturbing a walk through the frames that is under way."""
        position = self._file.tell()
        try:
            return next(self.frames(index, 1, keep_unused_bits=keep_unused_bits))[0]
        finally:
            self._file.seek(position)

    def _native(self, first: int, count: int, options: dict[str, Any]) -> Iterator[tuple[NDArray[Any], str]]:
        if self.transfer_syntax == ts.GE_PRIVATE_IMPLICIT:
            options["transfer_syntax_uid"] = UID(ts.EXPLICIT_VR_BIG_ENDIAN)
        photometric = str(options["photometric_interpretation"])
        if (samples_of := native.reader(options, little_endian=bool(self.header.original_encoding[1]))) is not None:
            for index in range(first, first + count):
                self._file.seek(self._value_at + index * self.frame_bytes)
                yield samples_of(self._file.read(self.frame_bytes), options), photometric
            return
        decoder = get_decoder(options["transfer_syntax_uid"])
        options, shape = codecs.without_fourth_sample(options)
        if photometric == "YBR_PARTIAL_420":
            raise Refusal("unsupported", "uncompressed YBR_PARTIAL_420")
        partial = photometric == "YBR_PARTIAL_422"
        if partial:  # laid out like its successor, which pydicom expands; only the range of values differs
            options["photometric_interpretation"] = "YBR_FULL_422"
        options["view_only"] = True
        correct_here = options["bits_allocated"] <= 16 and options.get("correct_unused_bits", True)
        if correct_here:
            options["correct_unused_bits"] = False
        for index in range(first, first + count):
            self._file.seek(self._value_at)
            samples, properties = decoder.as_array(self._file, index=index, raw=True, **options)
            if correct_here:
                samples = native.without_unused_bits(samples, self.options)
            if shape:
                yield shape(samples), photometric
                continue
            samples = self._in_word_order(samples)
            yield samples, photometric if partial else str(properties["photometric_interpretation"])

    def _in_word_order(self, samples: NDArray[Any]) -> NDArray[Any]:
        if self.transfer_syntax != ts.EXPLICIT_VR_BIG_ENDIAN or not native.may_be_swapped(samples):
            return samples
        if self._low_word_first is None:
            self._low_word_first = native.is_low_word_first(samples)
        return native.words_swapped(samples) if self._low_word_first else samples

    def _encapsulated(self, first: int, count: int) -> Iterator[bytes]:
        offsets = self.header.get("ExtendedOffsetTable"), self.header.get("ExtendedOffsetTableLengths")
        extended = offsets if all(offsets) else None
        self._file.seek(self._value_at)
        has_offsets = extended is not None or struct.unpack("<4xL", self._file.read(8))[0] > 0
        self._file.seek(self._value_at)
        if has_offsets and first > 0:
            for index in range(first, first + count):
                self._file.seek(self._value_at)
                yield get_frame(self._file, index, extended_offsets=extended)
            return
        # Without a table every frame has to be walked past; in one go, not from the start for each
        walk = generate_frames(self._file, number_of_frames=self.number_of_frames, extended_offsets=extended)
        found = 0
        for frame in islice(walk, first, first + count):
            found += 1
            yield frame
        if found < count:
            raise Refusal("decode", "fewer frames than NumberOfFrames says")

    def _read_header(self, path: Path) -> tuple[FileDataset, str]:
        transfer_syntax = ""
        try:
            head = self._file.read(_HEAD_BYTES)
            self._file.seek(0)
            # Looked for as bytes, and only then read: pydicom would inflate without a bound.
            if (
                ts.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN.encode() in head
                and _meta_syntax(path) == ts.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
            ):
                self._file = io.BytesIO(self._inflate(path))
                transfer_syntax = ts.EXPLICIT_VR_LITTLE_ENDIAN
            # what is in memory already cannot be deferred: there is no file to come back to
            defer = None if isinstance(self._file, io.BytesIO) else _DEFER_BYTES
            header = self._small_header(head)
            header = header or read_file(self._file, stop_when=at_pixels, defer_size=defer, force=True)
        except (Refusal, MemoryError, RecursionError):
            raise
        except Exception as error:
            raise Refusal("malformed", "header") from error
        if not len(header):
            raise Refusal("malformed", "no data set")
        if self._file.tell() > self.size_bytes and not isinstance(self._file, io.BytesIO):
            raise Refusal("malformed", "an element longer than the file")
        if self._file.tell() > self._limits.max_header_bytes:
            raise Refusal("too-large", "header")
        transfer_syntax = transfer_syntax or str(header.file_meta.get("TransferSyntaxUID", ""))
        return header, transfer_syntax or image_pixel.guess_transfer_syntax(header)

    def _small_header(self, head: bytes) -> FileDataset | None:
        """Read from memory, which is a quarter faster; None where the pixel data do not begin within ``head``."""
        if isinstance(self._file, io.BytesIO):
            return None
        memory = io.BytesIO(head)
        try:
            header = read_file(memory, stop_when=at_pixels, force=True)
        except Exception:  # cut off, or damaged: the file itself tells
            return None
        tag = memory.read(4)
        if tag not in _PIXEL_TAGS:
            return None
        self._file.seek(memory.tell() - 4)
        return header

    def _inflate(self, path: Path) -> bytes:
        """The data set of a deflated file (PS3.5 A.5), bounded."""
        meta = read_file_meta_info(path)
        self._file.seek(128 + 4 + 12 + int(meta.FileMetaInformationGroupLength))
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        data = inflater.decompress(self._file.read(), self._limits.max_inflated_bytes)
        if inflater.unconsumed_tail and not inflater.eof:
            raise Refusal("too-large", "inflated data set")
        self._file.close()
        return data

    def _read_options(self) -> dict[str, Any]:
        """pydicom's decoding options; leaves the file at the pixel data's value."""
        little = bool(self.header.original_encoding[1])
        head = self._file.read(8)
        group, element = struct.unpack("<HH" if little else ">HH", head[:4]) if len(head) == 8 else (0, 0)
        keyword = _PIXEL_KEYWORDS.get(group << 16 | element)
        if keyword is None:
            is_dicom = self.header.preamble is not None or "SOPClassUID" in self.header
            raise Refusal("no-pixels") if is_dicom else Refusal("malformed", "no DICOM")
        if self.transfer_syntax in ts.VIDEO:
            raise Refusal("video")
        if self.transfer_syntax not in ts.SUPPORTED_TRANSFER_SYNTAXES:
            raise Refusal("unsupported", "TransferSyntaxUID")
        try:
            image_pixel.settle_number_of_frames(self.header)
            options = image_pixel.options_of(self.header)
            options["number_of_frames"] = int(options["number_of_frames"])
        except Exception as error:
            raise Refusal("malformed", "image pixel attributes") from error
        options["pixel_keyword"] = keyword
        # asked of the element itself: there are compressed files whose data set is implicit all the same
        if head[4:6] in _PIXEL_VRS:
            options["pixel_vr"] = head[4:6].decode("ascii")
            self._file.seek(4, io.SEEK_CUR)
        options["transfer_syntax_uid"] = UID(self.transfer_syntax)
        return image_pixel.with_defaults(options)

    def _check_limits(self) -> None:
        """Everything that the header promises, before a single sample is decoded."""
        limits, options = self._limits, self.options
        if options["rows"] * options["columns"] > limits.max_pixels_per_frame:
            raise Refusal("too-large", "Rows x Columns")
        if self.frame_bytes > limits.max_frame_bytes:
            raise Refusal("too-large", "bytes of one frame")
        if not 0 < self.number_of_frames <= limits.max_frames:
            raise Refusal("too-large", "NumberOfFrames")
        total = self.frame_bytes * self.number_of_frames
        if total > limits.max_decoded_bytes:
            raise Refusal("too-large", "bytes of all frames")
        if self.transfer_syntax == ts.RLE_LOSSLESS and total > _RLE_BEST_RATIO * self.size_bytes:
            raise Refusal("decode", "more pixels than RLE can hold in this file")


def _meta_syntax(path: Path) -> str:
    try:
        return str(read_file_meta_info(path).get("TransferSyntaxUID", ""))
    except Exception:  # no Part 10 header: the data set may still be readable
        return ""
