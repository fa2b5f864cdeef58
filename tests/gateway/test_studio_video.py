"""The layer video from instances to sealed objects, with real streams: copied whole, told rightly, never decoded."""

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.management.index import arrivals_quarantine, arrivals_read, deliveries, uses
from gateway.management.rendering.refusal import Refusal
from gateway.management.rendering.video import media_of
from gateway.management.studio import videos as studio_videos
from gateway.management.studio.studio import layers_made
from tests.support import videos
from tests.support.workshop import Workshop, multi_frame, run
from wire import objects

MEDIA = {
    "mpeg-2": "video/mpeg",
    "program": "video/mpeg",
    "mp4": "video/mp4",
    "transport": "video/mp2t",
    "h264": "video/h264",
    "h265": "video/h265",
    "h265 in mp4": "video/mp4",
}


def arrive(shop: Workshop, path: Path, syntax: str, **more: Any) -> tuple[int, int]:
    values = {"frames": videos.FRAMES, "modality": "ES", **more}
    return shop.office.arrive(path=path, transfer_syntax=syntax, **values)


def value(header: objects.Header, tag: str) -> Any:
    (found,) = objects.inflate_json(header.attributes)["shared"][tag]["Value"]
    return found


def test_streams_are_passed_on_as_they_are(tmp_path: Path) -> None:
    data = {name: videos.stream(name) for name in MEDIA}
    assert {videos.frames_in(one) for one in data.values()} == {videos.FRAMES}

    async def scenario(shop: Workshop) -> None:
        for number, name in enumerate(MEDIA):
            syntax = videos.STREAMS[name][2]
            path = videos.save(videos.dataset(data[name], syntax), tmp_path / f"{number}.dcm")
            study, _ = arrive(shop, path, syntax, series=f"1.2.3.{number}")
        await shop.make_videos()  # while the study still grows
        made = shop.made(study, "video")
        for one, (name, media) in zip(made, MEDIA.items(), strict=True):
            ((part, plain),) = shop.parts(one)
            assert plain == videos.padded(data[name])
            assert (part.media, part.frame, part.band, part.lossy, part.ratio_x100) == (media, 0, 0, True, 3750)
            tags = ("00280008", "00280010", "00280011", "00181063")
            assert [value(shop.header(one), tag) for tag in tags] == [12, 96, 128, 40.0]
        shop.settle()
        await shop.make()
        await shop.make_slow()
        assert shop.states(study) == {"rendered": len(MEDIA)}
        assert not shop.made(study) and not shop.made(study, "diagnostic")
        (thumbnails,) = shop.made(study, "thumbnail")
        signs = [sign for _, sign in shop.parts(thumbnails)]
        assert len(signs) == len(MEDIA)
        with Image.open(io.BytesIO(signs[0])) as opened:
            assert opened.size == (32, 24)
        with shop.office.engine.connect() as connection:
            assert not deliveries.work_among(connection, [study], layers_made(shop.settings))

    run(tmp_path, scenario)


def test_pictures_and_streams_of_a_study_do_not_wait_for_each_other(tmp_path: Path) -> None:
    syntax = videos.STREAMS["mp4"][2]
    path = videos.save(videos.dataset(videos.stream("mp4"), syntax), tmp_path / "video.dcm")

    async def scenario(shop: Workshop) -> None:
        study, _ = arrive(shop, path, syntax, series="1.2.3.1")
        shop.office.arrive(path=multi_frame(tmp_path, 3), frames=3, series="1.2.3.2")
        shop.settle()
        await shop.make()
        await shop.make_slow()
        assert len(shop.frames(study)) == 3 and len(shop.made(study, "diagnostic")) == 1
        assert shop.states(study) == {"rendered": 1, "received": 1, "pending": 1}
        with shop.office.engine.connect() as connection:
            assert deliveries.work_among(connection, [study], ["video"])
            assert not uses.evictable_studies(connection, 0, ["display"], 10)
        await shop.make_videos()
        await shop.make()
        assert shop.states(study) == {"rendered": 2}
        assert sum(len(shop.parts(one)) for one in shop.made(study, "thumbnail")) == 2

    run(tmp_path, scenario)


def test_what_is_no_stream_is_refused_and_the_next_is_made(tmp_path: Path) -> None:
    data, syntax = videos.stream("mp4"), videos.STREAMS["mp4"][2]
    good = videos.save(videos.dataset(data, syntax), tmp_path / "good.dcm")
    whole = good.read_bytes()
    bad = {
        "cut": (whole[: len(whole) // 2], "decode"),
        "noise": (
            videos.save(videos.dataset(b"RIFF" + bytes(4000), syntax), tmp_path / "n").read_bytes(),
            "unsupported",
        ),
        "empty": (videos.save(videos.dataset(b"\0\0", syntax), tmp_path / "e").read_bytes(), "unsupported"),
        "no size": (videos.save(videos.dataset(data, syntax, Rows=0), tmp_path / "z").read_bytes(), "malformed"),
        "no DICOM": (b"not at all", "malformed"),
        **{
            f"an MP4 cut at {cut}": (
                videos.save(videos.dataset(data[:cut], syntax), tmp_path / f"c{cut}").read_bytes(),
                "malformed",
            )
            for cut in (40, len(data) // 2 & ~1, len(data) - 10 & ~1)
        },
    }

    async def scenario(shop: Workshop) -> None:
        for name, (content, _) in bad.items():
            (tmp_path / name).write_bytes(content)
            study, _ = arrive(shop, tmp_path / name, syntax)
        arrive(shop, tmp_path / "missing", syntax)
        arrive(shop, good, syntax)
        shop.settle()
        await shop.make_videos()
        assert shop.states(study) == {"failed": len(bad) + 1, "rendered": 1}
        with shop.office.engine.connect() as connection:
            failed = [one.reason for one in arrivals_read.instances_of(connection, study, "failed")]
        assert failed == [*(reason for _, reason in bad.values()), "unreadable"]
        assert len(shop.made(study, "video")) == 1 and not shop.health.troubles

    run(tmp_path, scenario)


def test_a_lost_stream_is_made_again_and_one_whose_file_came_again_is_not(tmp_path: Path) -> None:
    syntax = videos.STREAMS["transport"][2]
    path = videos.save(videos.dataset(videos.stream("transport"), syntax), tmp_path / "video.dcm")

    async def scenario(shop: Workshop) -> None:
        study, instance = arrive(shop, path, syntax)
        shop.settle()
        await shop.make_videos()
        (first,) = shop.made(study, "video")
        with shop.office.engine.begin() as connection:
            arrivals_quarantine.set_instance_state(connection, [instance], "evicted")
            arrivals_quarantine.set_instance_state(connection, [instance], "received")
        await shop.make_videos()
        assert shop.made(study, "video") == [first] and shop.states(study) == {"rendered": 1}
        with shop.office.engine.begin() as connection:
            deliveries.lose_objects(connection, [first.object])
        await shop.make_videos()
        (second,) = shop.made(study, "video")
        assert second.object != first.object and shop.opened(second) == shop.opened(first)

    run(tmp_path, scenario)


def test_memory_holds_pieces_of_a_long_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of many fragments, read in pieces that are smaller than those."""
    monkeypatch.setattr(studio_videos, "_PIECE_BYTES", 1000)
    data, syntax = videos.stream("h264") + b"\0\0\1\x0c" + b"\xff" * 300_000, videos.STREAMS["h264"][2]
    path = videos.save(videos.dataset(data, syntax, 2502), tmp_path / "video.dcm")
    pieces: list[int] = []
    real = studio_videos._pieces

    def measured(*arguments: Any) -> Any:
        for piece in real(*arguments):
            pieces.append(len(piece))
            yield piece

    monkeypatch.setattr(studio_videos, "_pieces", measured)

    async def scenario(shop: Workshop) -> None:
        study, _ = arrive(shop, path, syntax)
        await shop.make_videos()
        ((part, plain),) = shop.parts(shop.made(study, "video")[0])
        assert plain == videos.padded(data) and part.media == "video/h264"

    run(tmp_path, scenario)
    assert max(pieces) == 1000 and sum(pieces) == len(videos.padded(data))


@pytest.mark.parametrize(
    ("start", "usual"),
    [
        (b"", "h264"),
        (b"\0\0\1", "h264"),
        (b"\0\0\1\x67", "mpeg"),
        (b"\0\0\1\xb7" + bytes(9), "h265"),
        (b"G" + bytes(400), "h264"),
    ],
)
def test_a_beginning_that_says_nothing_is_refused(start: bytes, usual: Any) -> None:
    with pytest.raises(Refusal) as caught:
        media_of(start, usual)
    assert caught.value.reason == "unsupported"


def test_what_begins_as_mpeg_2_is_that_whatever_the_transfer_syntax_says() -> None:
    assert media_of(b"\0\0\1\xb3" + bytes(9), "h264") == "video/mpeg"
    assert media_of(b"\0\0\0\1\x67" + bytes(9), "h264") == "video/h264"
    assert media_of(b"\0\0\0\1\x40" + bytes(9), "h265") == "video/h265"
