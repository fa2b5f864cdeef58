"""The layer report from instances to sealed objects, with real render workers: at once, alone, and never for wards."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from gateway.config import Rendering
from gateway.delivery.health import Health
from gateway.delivery.turns import Turns
from gateway.management.index import arrivals, arrivals_read, deliveries, layers
from gateway.management.object_store import ObjectStore
from gateway.management.studio.bench import Bench
from gateway.management.studio.studio import layers_made, studios
from gateway.management.workers import RenderPool
from tests.support import reports
from tests.support.gateway_office import Office
from wire import envelope, objects, seal
from wire.names import decode_reference


class Workshop:
    """The lane of reports over an office's index."""

    def __init__(self, office: Office, folder: Path, pool: RenderPool) -> None:
        self.office, self.folder = office, folder
        self.store = ObjectStore(folder / "objects", "office")
        bench = Bench(office.engine, folder, self.store, pool, Rendering(thumbnail_side=64))
        (self.studio,) = [studio for studio in studios(bench) if studio.name == "a report"]
        self.announced: list[int] = []
        self.turns = Turns(office.engine, self.studio, self._announce, Health())

    async def _announce(self, study_id: int) -> None:
        self.announced.append(study_id)

    async def make(self) -> None:
        self.turns.wake()
        await asyncio.wait_for(self.turns.step(), 60)

    def arrive(self, name: str, data: Any, **values: Any) -> tuple[int, int]:
        path = reports.save(data, self.folder / name)
        return self.office.arrive(path=path, sop_class=str(data.SOPClassUID), series="1.2.3.9", **values)

    def made(self, study_id: int) -> list[deliveries.SealedObject]:
        with self.office.engine.connect() as connection:
            return [one for one in deliveries.objects_of(connection, study_id) if one.layer == "report"]

    def plain(self, one: deliveries.SealedObject) -> bytes:
        count = seal.segment_count(one.size)
        sealed = b"".join(self.store.segment(one.object, index, one.size) for index in range(count))
        return seal.open_whole(
            one.key, envelope.object_context("office", decode_reference(one.object), one.layer), sealed
        )

    def parts(self, one: deliveries.SealedObject) -> list[tuple[str, str, bytes]]:
        """SOPInstanceUID, media type and bytes of each part."""
        data = self.plain(one)
        header = objects.parse_header(data, one.layer, one.size)
        spans = objects.part_spans(header, objects.header_end(data))
        return [
            (header.instances[part.instance].SOPInstanceUID, part.media, data[start:end])
            for part, (start, end) in zip(header.parts, spans, strict=True)
        ]


def run(folder: Path, scenario: Callable[[Workshop], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with Office(folder / "state") as office:
            async with RenderPool(1) as pool:
                await scenario(Workshop(office, folder, pool))

    asyncio.run(main())


def test_a_report_is_made_while_its_study_grows_and_a_later_one_is_an_object_of_its_own(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        study, first = shop.arrive("a.dcm", reports.report("First", reports.text("Finding", "none")))
        shop.office.arrive(path=tmp_path / "not-made-here.dcm")
        await shop.make()
        (made,) = shop.made(study)
        assert [media for _, media, _ in shop.parts(made)] == ["text/plain", "text/html"]
        assert b"Finding: none" in shop.parts(made)[0][2]
        assert made.frames == 1
        assert shop.announced == [study]
        await shop.make()
        assert shop.made(study) == [made]

        with shop.office.engine.begin() as connection:
            arrivals.settle_quiet(connection, -1, time.time())
        shop.arrive("b.dcm", reports.report("Second", reports.text("Finding", "one")))
        shop.arrive("c.dcm", reports.report("Third", reports.text("Finding", "two")))
        await shop.make()
        old, new = sorted(shop.made(study), key=lambda one: one.batch)
        assert old == made
        assert new.frames == 2
        assert [media for _, media, _ in shop.parts(new)] == ["text/plain", "text/html"] * 2
        with shop.office.engine.connect() as connection:
            assert deliveries.gaps(connection, first, "report", 1) == []
            assert set(layers.reasons(connection, study, "report").values()) == {""}

    run(tmp_path, scenario)


def test_the_header_says_what_lists_show_and_names_nobody(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        data = reports.report("판독 보고서", reports.text("n", "v"), VerificationFlag="VERIFIED")
        study, _ = shop.arrive("a.dcm", data)
        await shop.make()
        (made,) = shop.made(study)
        header = objects.parse_header(shop.plain(made), "report", made.size)
        shared = objects.inflate_json(header.attributes)["shared"]
        assert shared["00420010"]["Value"] == ["판독 보고서"]
        assert shared["00080023"]["Value"] == ["20261124"]
        assert (shared["0040A491"]["Value"], shared["0040A493"]["Value"]) == (["COMPLETE"], ["VERIFIED"])
        assert not [tag for tag in shared if tag.startswith("0010")]

    run(tmp_path, scenario)


def test_a_pdf_has_its_first_page_beside_it_and_a_broken_one_is_passed_on_alone(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        whole = reports.pdf()
        study, _ = shop.arrive("whole.dcm", reports.document(whole))
        shop.arrive("broken.dcm", reports.document(whole[:150]))
        await shop.make()
        (made,) = shop.made(study)
        parts = shop.parts(made)
        assert [media for _, media, _ in parts] == ["application/pdf", "image/jpeg", "application/pdf"]
        assert [parts[0][2], parts[2][2]] == [whole, whole[:150]]

    run(tmp_path, scenario)


def test_what_cannot_be_made_is_said_and_does_not_hold_up_the_study(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        study, bad = shop.arrive("cda.dcm", reports.document(b"<ClinicalDocument/>", reports.CDA, "text/XML"))
        shop.arrive("good.dcm", reports.report("T", reports.text("n", "v")))
        await shop.make()
        assert len(shop.made(study)) == 1
        with shop.office.engine.connect() as connection:
            assert layers.reasons(connection, study, "report")[bad] == "unsupported"
            (row,) = arrivals_read.instances_of(connection, study, "failed")
            assert (row.id, row.reason) == (bad, "unsupported")
            assert not deliveries.work_among(connection, [study], ["report"])

    run(tmp_path, scenario)


def test_lost_objects_are_made_again(tmp_path: Path) -> None:
    async def scenario(shop: Workshop) -> None:
        study, _ = shop.arrive("a.dcm", reports.report("T", reports.text("n", "v")))
        await shop.make()
        (made,) = shop.made(study)
        with shop.office.engine.begin() as connection:
            deliveries.lose_objects(connection, [made.object])
        await shop.make()
        (again,) = shop.made(study)
        assert again.object != made.object
        assert shop.parts(again) == shop.parts(made)

    run(tmp_path, scenario)


def test_a_site_may_have_none() -> None:
    assert "report" in layers_made(Rendering())
    assert "report" not in layers_made(Rendering(report=False))


def test_a_ward_is_not_told_of_a_series_of_reports(tmp_path: Path) -> None:
    with Office(tmp_path) as office:
        profiles = office.profile("doctor", "D", attends=("*",)), office.profile("ward", "W", attends=("P-1",))
        study, _ = office.arrive(series="1.2.3.1")
        office.arrive(series="1.2.3.9", sop_class=reports.COMPREHENSIVE_3D, series_attributes=modality("SR"))
        with office.engine.connect() as connection:
            pictures, documents = (row.id for row in arrivals_read.series_of(connection, study))

        def told() -> list[tuple[list[str], list[str]] | None]:
            """What is new to doctor and ward: modalities of series and layers of objects."""
            outgoing = office.announcer.refresh(study).outgoing
            found: list[tuple[list[str], list[str]] | None] = []
            for profile in profiles:
                mine = [one for one in outgoing if f"/{profile.reference}/" in one.topic]
                opened = [office.open_announcement(profile, one.topic, one.payload) for one in mine]
                series = [objects.inflate_json(one.attributes)["series"] for one in opened]
                modalities = [one["00080060"]["Value"][0] for listed in series for one in listed]
                found.append((modalities, [e.layer for one in opened for e in one.objects]) if mine else None)
            return found

        assert told() == [(["CT", "SR"], []), (["CT"], [])]
        office.add_object(study, (pictures,))
        assert told() == [(["CT", "SR"], ["display"]), (["CT"], ["display"])]
        office.add_object(study, (documents,), layer="report")
        assert told() == [(["CT", "SR"], ["display", "report"]), None]


def test_a_ward_is_not_told_of_a_study_of_reports_alone_until_pictures_come(tmp_path: Path) -> None:
    with Office(tmp_path) as office:
        office.profile("doctor", "D", attends=("*",))
        ward = office.profile("ward", "W", attends=("P-1",))
        study, _ = office.arrive(series="1.2.3.9", sop_class=reports.PDF)
        changes = office.announcer.refresh(study)
        assert [one for one in changes.outgoing if "/doctor/" in one.topic]
        assert not [one for one in changes.outgoing if f"/{ward.reference}/" in one.topic]
        assert office.head(ward).studies == []
        office.arrive(series="1.2.3.1")
        assert [one for one in office.announcer.refresh(study).outgoing if f"/{ward.reference}/" in one.topic]
        assert len(office.head(ward).studies) == 1


def modality(value: str) -> dict[str, Any]:
    return {"00080060": {"vr": "CS", "Value": [value]}}
