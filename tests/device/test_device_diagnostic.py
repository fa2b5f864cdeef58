"""The layer ``diagnostic`` on a device: every bit as a file, lower resolutions from the first band alone."""

import io
import json
import os
import sys

import imagecodecs
import numpy as np
import pydicom
import pytest
from device_gateway import Study, study_attributes
from PIL import Image
from pydicom.encaps import generate_frames

from benchmarks.studies import real_file
from device_client import decode_coded
from tests.support import wavelet
from wire import codestream

UID = "1.2.826.0.1.3680043.8.498.9"
CT = f"{UID}.1"


def element(vr, value):
    return {"vr": vr, "Value": [value]}


def offer(gateway, frames, photometric="MONOCHROME2", own=()):
    """A series of these frames, as a gateway lays it out: all first bands, then the rests."""
    coded = [
        bytes(
            imagecodecs.htj2k_encode(
                np.ascontiguousarray(one), tlm=True, tilepart=1, resolutions=5, rgb=photometric == "RGB"
            )
        )
        for one in frames
    ]
    cuts = [codestream.parse(one).end(codestream.QUARTER) for one in coded]
    uids = [f"{CT}.{number}" for number in range(1, len(coded) + 1)]
    parts = [(uid, 0, 0, one[:cut]) for uid, one, cut in zip(uids, coded, cuts, strict=True)]
    parts += [(f"{CT}.99", 0, 0, data) for data, _ in own]
    parts += [(uid, 0, 0, one[cut:]) for uid, one, cut in zip(uids, coded, cuts, strict=True)]
    bands = [0] * (len(coded) + len(own)) + [1] * len(coded)
    media = ["image/jphc"] * len(coded) + [kind for _, kind in own] + ["image/jphc"] * len(coded)
    rows, columns = frames[0].shape[:2]
    tags = {
        "00280004": element("CS", photometric),
        "00280010": element("US", rows),
        "00280011": element("US", columns),
    }
    sealed = gateway.seal_object("diagnostic", [CT], parts, [0], media=media, attributes=tags, bands=bands)
    study = Study(os.urandom(16), study_attributes(UID, [CT]), 1, True)
    study.entries = [sealed.entry]
    gateway.announce(study)
    return sealed


def read(path):
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


@pytest.fixture(scope="module")
def slices():
    whole = pydicom.dcmread(real_file("693_UNCR.dcm")).pixel_array
    return [np.roll(whole, 7 * number, axis=1) for number in range(6)]


def test_every_bit_of_a_signed_series_with_its_offset(gateway, enrolled, slices, tmp_path):
    offer(gateway, slices)
    enrolled.call("run", "--once", "--timeout", "10", "--layer", "diagnostic")
    written = enrolled.json("export", UID, "--to", str(tmp_path), "--layer", "diagnostic")
    assert written["pictures"] == len(slices) and written["missing"] == 0
    told = json.loads((tmp_path / CT / "series.diagnostic.json").read_text())
    for record, expected in zip(told, slices, strict=True):
        pixels = read(tmp_path / CT / record["file"])
        assert pixels.dtype == np.uint16 and record["offset"] == (32768 if expected.dtype == np.int16 else 0)
        np.testing.assert_array_equal(pixels.astype(int) - record["offset"], expected)
        assert not record["lossy"] and record["attributes"]["00280010"]["Value"] == [512]
    one = enrolled.json("export", UID, "--to", str(tmp_path / "one"), "--layer", "diagnostic", "--frame", "1")
    assert one["pictures"] == len(slices)  # the first frame of each instance
    # The folder holds another layer under the same names: nothing is written over.
    (tmp_path / CT / "series.diagnostic.json").rename(tmp_path / CT / "series.json")
    other = enrolled.call("export", UID, "--to", str(tmp_path), "--layer", "diagnostic", code=1)
    assert "choose another folder" in other.stderr
    assert not (tmp_path / CT / "series.diagnostic.json").exists()


def test_lower_resolutions_come_from_the_first_band_alone(gateway, enrolled, slices, tmp_path):
    sealed = offer(gateway, slices)
    gateway.limit = 4  # of more segments: the first bands, and little of the rests
    assert len(sealed.segments) > 6
    enrolled.call("run", "--once", "--timeout", "1", "--layer", "diagnostic", code=1)
    arguments = ("export", UID, "--to", str(tmp_path), "--layer", "diagnostic")
    for level in (2, 3, 5):
        assert enrolled.json(*arguments, "--level", str(level))["pictures"] == len(slices)
        told = json.loads((tmp_path / CT / f"series.diagnostic.level{level}.json").read_text())
        for record, expected in zip(told, slices, strict=True):
            pixels = read(tmp_path / CT / record["file"]).astype(int) - record["offset"]
            np.testing.assert_array_equal(pixels, wavelet.reduced(expected, level))
            assert (record["level"], record["spacing_factor"]) == (level, 2**level)
    assert "is not here as a whole" in enrolled.call(*arguments, "--level", "1", code=1).stderr
    assert "is not here as a whole" in enrolled.call(*arguments, code=1).stderr
    some = enrolled.json(*arguments, "--partial")
    assert some["missing"] > 0 and some["pictures"] + some["missing"] == len(slices)
    assert "5 lower resolutions" in enrolled.call(*arguments, "--level", "6", code=1).stderr
    assert "no lower resolutions" in enrolled.call("export", UID, "--to", "x", "--level", "2", code=1).stderr


@pytest.mark.parametrize(
    ("kind", "photometric", "suffix"),
    [(np.uint8, "RGB", ".png"), (np.uint16, "RGB", ".npy"), (np.uint8, "YBR_FULL", ".npy")],
)
def test_colours_are_png_where_png_can_hold_them(gateway, enrolled, tmp_path, kind, photometric, suffix):
    frame = pydicom.dcmread(real_file("examples_rgb_color.dcm")).pixel_array.astype(kind)
    offer(gateway, [frame], photometric)
    enrolled.call("run", "--once", "--timeout", "10", "--layer", "diagnostic")
    enrolled.call("export", UID, "--to", str(tmp_path), "--layer", "diagnostic")
    (path,) = (tmp_path / CT).glob(f"*{suffix}")
    np.testing.assert_array_equal(read(path), frame)


def test_frames_of_lossy_sources_are_written_as_they_are(gateway, enrolled, slices, tmp_path):
    offer(gateway, slices[:1], own=[(b"\xff\xd8 a JPEG", "image/jpeg")])
    enrolled.call("run", "--once", "--timeout", "10", "--layer", "diagnostic")
    written = enrolled.json("export", UID, "--to", str(tmp_path), "--layer", "diagnostic")
    assert written["pictures"] == 2 and (tmp_path / CT / f"{CT}.99.jpg").read_bytes() == b"\xff\xd8 a JPEG"
    refused = enrolled.call("export", UID, "--to", str(tmp_path), "--layer", "diagnostic", "--level", "2", code=1)
    assert "own coding" in refused.stderr


def test_frames_that_few_programs_open_become_png(gateway, enrolled, slices, tmp_path):
    data = pydicom.dcmread(real_file("JPEG-lossy.dcm"))
    twelve = next(generate_frames(data.PixelData, number_of_frames=1))
    with pytest.raises(OSError):
        Image.open(io.BytesIO(twelve)).load()
    near = bytes(imagecodecs.jpegls_encode(slices[0].view(np.uint16), level=2))
    offer(gateway, slices[:1], own=[(twelve, "image/jpeg")])
    enrolled.call("run", "--once", "--timeout", "10", "--layer", "diagnostic")
    enrolled.call("export", UID, "--to", str(tmp_path), "--layer", "diagnostic")
    np.testing.assert_array_equal(read(tmp_path / CT / f"{CT}.99.png"), imagecodecs.jpeg8_decode(twelve))
    told = json.loads((tmp_path / CT / "series.diagnostic.json").read_text())
    assert [one["offset"] for one in told if one["file"] == f"{CT}.99.png"] == [0]
    made = decode_coded.decode("image/jls", near, "MONOCHROME2")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(made.data))), imagecodecs.jpegls_decode(near))
    assert decode_coded.decode("image/jpeg", twelve[:90], "MONOCHROME2") is None


def test_a_frame_of_another_size_than_told_is_refused(gateway, enrolled, slices, tmp_path):
    small = np.ascontiguousarray(slices[0][:100, :100])
    offer(gateway, [slices[0], small])
    enrolled.call("run", "--once", "--timeout", "10", "--layer", "diagnostic")
    assert "malformed" in enrolled.call("export", UID, "--to", str(tmp_path), "--layer", "diagnostic", code=1).stderr


def test_by_itself_a_device_takes_no_diagnostic(gateway, enrolled, slices):
    offer(gateway, slices[:1])
    enrolled.call("run", "--once", "--timeout", "10")
    (listed,) = enrolled.json("studies")
    layer = listed["series"][0]["layers"]["diagnostic"]
    assert layer["received"] == 0 and layer["segments"] > 0


def test_without_the_libraries_it_is_said_what_to_install(monkeypatch):
    from device_client.errors import ViewerMissing
    from device_client.frames import Frame
    from device_client.frames import read as read_frame
    from device_client.pictures import Picture
    from wire.objects import Part

    coded = bytes(imagecodecs.htj2k_encode(np.zeros((16, 16), np.uint16), tlm=True, tilepart=1, resolutions=5))
    cut = codestream.parse(coded).end(2)

    class Reader:
        def read(self, start, end):
            return coded[start:end]

    def picture(band, start, end):
        part = Part(0, 0, band, end - start, "image/jphc", False, 100)
        return Picture(None, "1", "1", part, start, end, {}, False)

    monkeypatch.setitem(sys.modules, "openjpeg.utils", None)
    monkeypatch.delitem(sys.modules, "device_client.decode", raising=False)
    with pytest.raises(ViewerMissing, match="viewer"):
        read_frame(Reader(), Frame(picture(0, 0, cut), picture(1, cut, len(coded))), 0)
