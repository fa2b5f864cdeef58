"""Pictures and documents become DICOM: every bit of what was given, the right class, and where it came from."""

import hashlib
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames

from gateway.middleware.importing.importer import Outcome
from gateway.middleware.importing.protocol import DecodeLimits
from gateway.middleware.importing.subject import Subject, Wishes
from tests.support.import_office import KIM, ImportOffice, import_office

SC = "1.2.840.10008.5.1.4.1.1.7"
GREY = (np.arange(60 * 90).reshape(60, 90) * 12 % 4096).astype(np.uint16)
RAMP = np.tile(np.arange(96, dtype=np.uint8) * 2, (64, 1))
COLOUR = np.stack([RAMP, np.tile(np.arange(64, dtype=np.uint8), (96, 1)).T, RAMP // 3 + 40], axis=-1)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportOffice]:
    with import_office(tmp_path_factory.mktemp("pictures") / "state") as made:
        yield made


def taken(
    office: ImportOffice, *paths: Path, subject: Subject = KIM, wishes: Wishes | None = None
) -> list[FileDataset]:
    """The instances that came of files that must all be new."""
    reports = office.take(*paths, subject=subject, wishes=wishes)
    assert [report.outcome for report in reports] == [Outcome.NEW] * len(paths), reports
    assert not office.left_over()
    return [office.dataset(uid) for report in reports for uid in report.instances]


def refused(office: ImportOffice, path: Path, **options: Any) -> str:
    """Why a file was refused, which must leave nothing behind."""
    before = office.counts()
    (report,) = office.importer(KIM, **options).take([path])
    assert report.outcome is Outcome.REFUSED and not report.instances, report
    assert office.counts() == before and not office.left_over()
    return report.detail


def _off(found: Any, expected: Any) -> int:
    """The largest difference of a sample."""
    return int(np.abs(np.asarray(found).astype(int) - np.asarray(expected).astype(int)).max())


# ── what comes of each kind ───────────────────────────────────────────────────────────────────────────────────────


def test_sixteen_bit_pages_become_frames_bit_for_bit(office: ImportOffice, tmp_path: Path) -> None:
    pages = np.stack([np.roll(GREY, 3 * number, axis=1) for number in range(7)])
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", compression="zlib", predictor=True)
    (made,) = taken(office, path)
    assert made.SOPClassUID == f"{SC}.3" and made.NumberOfFrames == 7
    assert (made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation) == (16, 16, 15, 0)
    assert made.PageNumberVector == [1, 2, 3, 4, 5, 6, 7] and made.FrameIncrementPointer == 0x00182001
    assert np.array_equal(made.pixel_array, pages)
    assert made.LossyImageCompression == "00"


BITS = GREY > 2000
TWO = np.stack([COLOUR, COLOUR[::-1]])
BYTES = np.stack([GREY, GREY[::-1]]).astype(np.uint8)
GREYS = {"photometric": "minisblack"}
RGB = {"photometric": "rgb"}
FORMS: dict[str, tuple[Any, dict[str, Any], str, Any]] = {
    "grey8": (BYTES[0], GREYS, SC, BYTES[0]),
    "lzw": (COLOUR, {**RGB, "compression": "lzw"}, SC, COLOUR),
    "planar": (np.moveaxis(COLOUR, -1, 0), {**RGB, "planarconfig": "separate"}, SC, COLOUR),
    "tiled": (COLOUR, {**RGB, "tile": (32, 32)}, SC, COLOUR),
    "big-endian": (GREY, {**GREYS, "byteorder": ">"}, SC, GREY),
    "bigtiff": (GREY, {**GREYS, "bigtiff": True}, SC, GREY),
    "white-is-zero": (GREY, {"photometric": "miniswhite"}, SC, 65535 - GREY),
    "bilevel": (BITS, GREYS, SC, BITS.astype(np.uint8) * 255),
    "fax": (BITS, {"photometric": "miniswhite", "compression": "packbits"}, SC, (~BITS).astype(np.uint8) * 255),
    "signed": (GREY.astype(np.int16) - 1024, GREYS, SC, GREY + 31744),
    "signed-big-endian": (GREY.astype(np.int16) - 1024, {**GREYS, "byteorder": ">"}, SC, GREY + 31744),
    "signed8": (BYTES[0].view(np.int8), GREYS, SC, BYTES[0] ^ 128),
    "deep-colour": (COLOUR.astype(np.uint16) * 257, RGB, SC, COLOUR),
    "colour-pages": (TWO, RGB, f"{SC}.4", TWO),
    "byte-pages": (BYTES, GREYS, f"{SC}.2", BYTES),
}
CHANGED = ("white-is-zero", "bilevel", "fax", "deep-colour")


def test_every_form_of_tiff(office: ImportOffice, tmp_path: Path) -> None:
    for form, (values, options, _, _) in FORMS.items():
        tifffile.imwrite(tmp_path / f"{form}.tif", values, **options)
    made = taken(office, *(tmp_path / f"{form}.tif" for form in FORMS), subject=Subject("P-tiff", PatientName="A^B"))
    for (form, (_, _, sop_class, expected)), one in zip(FORMS.items(), made, strict=True):
        assert one.SOPClassUID == sop_class, form
        assert np.array_equal(one.pixel_array, expected), form
        assert ("DerivationDescription" in one) == (form in CHANGED), form
        if form.startswith("signed"):
            assert one.RescaleIntercept == (-128 if form == "signed8" else -32768) and one.RescaleSlope == 1


def test_tiffs_of_another_writer(office: ImportOffice, tmp_path: Path) -> None:
    """Scanners' compressions and colours, as libtiff writes them."""
    colour = Image.fromarray(COLOUR)
    pictures = {
        **{name: (colour.convert("1"), name) for name in ("group3", "group4", "tiff_ccitt")},
        "jpeg": (colour, "jpeg"),
        "grey-jpeg": (colour.convert("L"), "jpeg"),
        "ycc": (colour.convert("YCbCr"), "raw"),
        "palette": (colour.quantize(64), "tiff_lzw"),
        "cmyk": (colour.convert("CMYK"), "tiff_lzw"),
    }
    for name, (picture, compression) in pictures.items():
        picture.save(tmp_path / f"{name}.tif", compression=compression)
    subject = Subject("P-libtiff", PatientName="A^B")
    made = taken(office, *(tmp_path / f"{name}.tif" for name in pictures), subject=subject)
    for name, one in zip(pictures, made, strict=True):
        mode = "L" if one.SamplesPerPixel == 1 else "RGB"
        assert _off(one.pixel_array, Image.open(tmp_path / f"{name}.tif").convert(mode)) <= 1, name
        assert one.LossyImageCompression == ("01" if "jpeg" in name else "00"), name
    colour.convert("LAB").save(tmp_path / "lab.tif")
    assert "samples" in refused(office, tmp_path / "lab.tif")


def test_pages_that_differ_become_instances_of_their_own(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(COLOUR, photometric="rgb")
        file.write(COLOUR[::2, ::2], photometric="rgb", subfiletype=1)  # a thumbnail is no page
        file.write(COLOUR[::-1], photometric="rgb")
        file.write(GREY, photometric="minisblack")
    colour, grey = taken(office, path)
    assert np.array_equal(colour.pixel_array, np.stack([COLOUR, COLOUR[::-1]])) and colour.PageNumberVector == [1, 3]
    assert np.array_equal(grey.pixel_array, GREY)
    assert colour.SeriesInstanceUID == grey.SeriesInstanceUID
    assert [colour.InstanceNumber, grey.InstanceNumber] == [1, 2]


def test_every_form_of_png(office: ImportOffice, tmp_path: Path) -> None:
    modes = ("L", "RGB", "P", "LA", "RGBA", "I;16", "1")
    expected: dict[str, Any] = {"I;16": GREY}
    for mode in modes:
        picture = Image.fromarray(GREY) if mode == "I;16" else Image.fromarray(COLOUR).convert(mode)
        if "A" in mode:
            picture.putalpha(Image.fromarray(COLOUR[..., 0]))
        picture.save(tmp_path / f"{mode}.png")
        if mode != "I;16":
            paper = Image.new("RGB", picture.size, "white")
            paper.paste(picture.convert("RGB"), mask=picture.getchannel("A") if "A" in mode else None)
            expected[mode] = np.asarray(paper.convert("L") if mode in ("L", "LA", "1") else paper)
    made = taken(office, *(tmp_path / f"{mode}.png" for mode in modes), subject=Subject("P-png", PatientName="A^B"))
    for mode, one in zip(modes, made, strict=True):
        assert _off(one.pixel_array, expected[mode]) <= (1 if "A" in mode else 0), (
            mode
        )  # Pillow rounds its mixing another way
        assert one.Modality == "OT" and one.SOPClassUID == SC


@pytest.mark.parametrize("subsampling", [0, 2])
def test_a_baseline_jpeg_stays_as_it_is(office: ImportOffice, tmp_path: Path, subsampling: int) -> None:
    path = tmp_path / "photo.jpg"
    icc = b"no real profile, but kept"
    Image.fromarray(COLOUR).save(path, quality=85, subsampling=subsampling, icc_profile=icc)
    (made,) = taken(office, path)
    assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.50"
    assert made.PhotometricInterpretation == "YBR_FULL_422" and made.PlanarConfiguration == 0
    (frame,) = generate_frames(made.PixelData)
    assert frame[: path.stat().st_size] == path.read_bytes() and len(frame) - path.stat().st_size in (0, 1)
    assert made.LossyImageCompression == "01" and made.LossyImageCompressionMethod == "ISO_10918_1"
    assert float(made.LossyImageCompressionRatio) == pytest.approx(COLOUR.nbytes / path.stat().st_size, rel=0.01)
    assert made.ICCProfile.rstrip(b"\0") == icc
    from pydicom.pixels import pixel_array

    assert _off(pixel_array(made), Image.open(path)) <= 2
    assert "DerivationDescription" not in made and made.ImageType[0] == "ORIGINAL"


def test_jpegs_that_cannot_stay_are_decoded_once_and_marked_lossy(office: ImportOffice, tmp_path: Path) -> None:
    for name, mode, options in (
        ("progressive", "RGB", {"progressive": True}),
        ("cmyk", "CMYK", {}),
    ):
        path = tmp_path / f"{name}.jpg"
        Image.fromarray(COLOUR).convert(mode).save(path, quality=90, **options)
        (made,) = taken(office, path)
        assert made.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        assert np.array_equal(made.pixel_array, np.asarray(Image.open(path).convert("RGB")))
        assert made.LossyImageCompression == "01" and float(made.LossyImageCompressionRatio) > 1


def test_jpegs_say_what_their_components_are(office: ImportOffice, tmp_path: Path) -> None:
    rgb, grey, several = tmp_path / "rgb.jpg", tmp_path / "grey.jpg", tmp_path / "several.jpg"
    Image.fromarray(COLOUR).save(rgb, keep_rgb=True, quality=95)
    Image.fromarray(COLOUR).convert("L").save(grey)
    several.write_bytes(grey.read_bytes() + b"a second picture, as some cameras append one")
    made, alone, cut = taken(office, rgb, grey, several)
    assert made.PhotometricInterpretation == "RGB" and alone.PhotometricInterpretation == "MONOCHROME2"
    assert np.abs(made.pixel_array.astype(int) - COLOUR).max() < 24
    assert next(generate_frames(cut.PixelData)).rstrip(b"\0") == grey.read_bytes().rstrip(b"\0")


def test_orientation_is_honoured(office: ImportOffice, tmp_path: Path) -> None:
    names = []
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112], exif[0x010F], exif[0x0132] = orientation, "Maker", "2024:05:31 12:34:56"
        photo, png, page = (tmp_path / f"{orientation}.{suffix}" for suffix in ("jpg", "png", "tif"))
        Image.fromarray(COLOUR).save(photo, exif=exif)
        Image.fromarray(COLOUR).save(png, exif=exif)
        tifffile.imwrite(page, COLOUR, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
        names += [photo, png, page]
    made = taken(office, *names, subject=Subject("P-turned", PatientName="A^B"))
    for path, one in zip(names, made, strict=True):
        upright = ImageOps.exif_transpose(Image.open(path if path.suffix != ".tif" else path.with_suffix(".png")))
        # Of a JPEG that stays as it is, decoders differ a little in their conversion to RGB.
        assert _off(one.pixel_array, upright) <= (2 if path.name == "1.jpg" else 0), path.name
        if path.suffix == ".jpg":
            assert (one.Modality, one.ContentDate, one.ContentTime) == ("XC", "20240531", "123456")
            assert one.ContributingEquipmentSequence[1].Manufacturer == "Maker"
            assert one.file_meta.TransferSyntaxUID.is_encapsulated == (path.stem == "1")


def test_flat_pixels_are_said(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    tifffile.imwrite(path, GREY > 0, photometric="miniswhite", resolution=(204, 98), resolutionunit="inch")
    (made,) = taken(office, path)
    assert made.PixelAspectRatio == [204, 98]


def test_a_pdf_is_encapsulated_byte_for_byte(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "소견서.pdf"
    path.write_bytes(pdf())
    (made,) = taken(office, path, wishes=Wishes(description="소견서"))
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1" and made.Modality == "DOC"
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == path.read_bytes()
    assert made.MIMETypeOfEncapsulatedDocument == "application/pdf" and made.DocumentTitle == "소견서"


def pdf() -> bytes:
    """A document of one empty page."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
               b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>"]  # fmt: skip
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s endobj\n" % (number, body)
    at = len(out)
    out += b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out + b"trailer<</Root 1 0 R/Size 4>>\nstartxref\n%d\n%%%%EOF\n" % at)


# ── whose it is, and where it came from ───────────────────────────────────────────────────────────────────────────


def test_identity_and_provenance(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    Image.fromarray(COLOUR[::-1]).save(path)
    (made,) = taken(office, path, wishes=Wishes("피부 사진", "XC", no_identity_in_pixels=True))
    assert made.SpecificCharacterSet == "ISO_IR 192"
    assert str(made.PatientName) == KIM.PatientName and made.PatientName.phonetic == "김^민수"
    assert (made.PatientID, made.PatientBirthDate, made.PatientSex) == ("P-1", "19700101", "M")
    assert (made.SeriesDescription, made.Modality, made.BurnedInAnnotation) == ("피부 사진", "XC", "NO")
    assert made.ConversionType == "WSD" and made.SecondaryCaptureDeviceManufacturer == "mPACS Edge"
    assert made.DateOfSecondaryCapture == made.ContentDate == made.StudyDate
    importer = made.ContributingEquipmentSequence[0]
    assert importer.PurposeOfReferenceCodeSequence[0].CodeValue == "MEDIM"
    assert hashlib.sha256(path.read_bytes()).hexdigest() in importer.ContributionDescription
    for uid in (made.SOPInstanceUID, made.StudyInstanceUID, made.SeriesInstanceUID):
        assert uid.startswith("2.25.") and len(uid) <= 64
        assert int(uid[5:]) >> 76 & 0xF == 8 and int(uid[5:]) >> 62 & 3 == 2


def test_the_same_file_twice_is_one_instance(office: ImportOffice, tmp_path: Path) -> None:
    path, copy = tmp_path / "one.png", tmp_path / "copy.png"
    Image.fromarray(COLOUR[:, ::-1]).save(path)
    shutil.copy(path, copy)
    tif = tmp_path / "one.tif"
    tifffile.imwrite(tif, GREY[::-1], photometric="minisblack")
    first = taken(office, path, tif)
    before = office.counts()
    reports = office.take(copy, tif, path, subject=KIM)
    assert [report.outcome for report in reports] == [Outcome.KNOWN] * 3
    assert office.counts() == before
    other = Subject("P-1", study={}, StudyInstanceUID="1.2.3.4.99", PatientName=KIM.PatientName)
    (second,) = taken(office, path, subject=other)
    assert second.SOPInstanceUID != first[0].SOPInstanceUID and second.StudyInstanceUID == "1.2.3.4.99"


# ── strangers' bytes ──────────────────────────────────────────────────────────────────────────────────────────────


def _png(columns: int, rows: int) -> bytes:
    """A PNG that promises more than it holds."""
    head = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def test_what_cannot_be_is_refused_with_a_reason(office: ImportOffice, tmp_path: Path) -> None:
    jpeg, tif = tmp_path / "a.jpg", tmp_path / "a.tif"
    Image.fromarray(COLOUR).save(jpeg)
    tifffile.imwrite(tif, GREY, photometric="minisblack", compression="zlib")
    cases = {
        "cut.jpg": jpeg.read_bytes()[:400],
        "noise.jpg": b"\xff\xd8\xff" + bytes(range(256)) * 8,
        "bomb.png": _png(60000, 60000),
        "short.png": _png(2000, 2000),
        "cut.tif": tif.read_bytes()[: len(tif.read_bytes()) // 2],
        "noise.tif": b"II*\0" + b"\xff" * 200,
        "cut.pdf": b"%PDF-1.4\nnothing",
    }
    for name, data in cases.items():
        path = tmp_path / name
        path.write_bytes(data)
        detail = refused(office, path)
        assert "damaged" in detail or "larger" in detail, (name, detail)
    tifffile.imwrite(tif, GREY.astype(np.float32), photometric="minisblack")
    assert "samples" in refused(office, tif)
    tifffile.imwrite(tif, np.zeros((200, 70000), np.uint8), photometric="minisblack")
    assert "larger" in refused(office, tif)


def test_a_pdf_with_a_password_is_refused(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "locked.pdf"
    locked = b"/Size 4/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<%s>/U<%s>>>/ID[<00><00>]>>" % (b"41" * 32, b"42" * 32)
    path.write_bytes(pdf().replace(b"/Size 4>>", locked))
    assert "encrypted" in refused(office, path)


def test_a_decoder_that_takes_too_much_is_ended(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "large.tif"
    tifffile.imwrite(path, np.zeros((5000, 5000), np.uint16), photometric="minisblack", compression="zlib")
    assert "memory" in refused(office, path, limits=DecodeLimits(memory_bytes=200 << 20))
    assert "too long" in refused(office, path, limits=DecodeLimits(wall_s=0.001))


def test_circular_pages_end(office: ImportOffice, tmp_path: Path) -> None:
    path = tmp_path / "round.tif"
    tifffile.imwrite(path, GREY, photometric="minisblack")
    data = bytearray(path.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[first : first + 2], "little")
    data[first + 2 + 12 * count : first + 6 + 12 * count] = data[4:8]
    path.write_bytes(data)
    (report,) = office.take(path, subject=KIM)
    assert report.outcome in (Outcome.NEW, Outcome.REFUSED) and len(report.instances) <= 1


@pytest.mark.peer("dciodvfy")
def test_dicom3tools_find_no_error(office: ImportOffice, tmp_path: Path) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.jpg", quality=70)
    Image.fromarray(COLOUR[::2]).save(tmp_path / "a.png")
    for name, values in (("grey", GREY), ("byte", GREY.astype(np.uint8))):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.stack([values, values]), photometric="minisblack")
    tifffile.imwrite(tmp_path / "colour.tif", np.stack([COLOUR, COLOUR]), photometric="rgb")
    (tmp_path / "a.pdf").write_bytes(pdf() + b"\n")
    reports = office.take(tmp_path, subject=Subject("P-vfy", "", "Kim^Min Su", "19700101", "M"))
    assert len(reports) == 6
    for report in reports:
        (uid,) = report.instances
        said = subprocess.run(["dciodvfy", "-new", str(office.path(uid))], capture_output=True, text=True).stderr
        assert "Error" not in said, (report.name, said)
