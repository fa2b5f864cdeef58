"""What the gateway is asked beyond what it announces: search, fetch, share; as commands ask it and see it."""

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from device_client import attributes
from device_client.agent import Agent
from device_client.control import Message, Send
from device_client.errors import DeviceError, LinkFailed
from device_client.sending import Parcel, pack
from wire import asks, topics
from wire.asks import Asked
from wire.bits import from_ranges
from wire.errors import WireError
from wire.messages import AnswerBody, Done, Refused
from wire.names import Kind, check_kind, decode_reference, encode_reference
from wire.objects import inflate_json
from wire.seal import segment_count

CONNECT_S = 20.0
ANSWER_S = 90.0
"""Without an answer or progress; a PACS may take its time."""
_MOST_PAGES = 200

UPLOAD_PATIENCE_S = 300.0
_UNACKNOWLEDGED = 8
_RETRY_S = 0.1

_T = TypeVar("_T")

REFUSALS = {
    "forbidden": "the gateway has no such study or person for this device",
    "gone": "no PACS has this study any more",
    "busy": "not all of it can be had now: the PACS does not answer, or the gateway has too much to do; try again",
    "unsupported": "the gateway does not do this for this device",
    "malformed": "the gateway does not understand the request",
    "stale": "the gateway's clock and this device's are more than seven days apart",
}


UPLOAD_REFUSALS = {
    **REFUSALS,
    "forbidden": "this device may not send anything for this patient and study, or they do not belong together, "
    "or the DICOM file is of another patient or study",
    "malformed": "the gateway cannot read the file: it is damaged, or not what its name says",
    "unsupported": "the file is larger than the gateway takes",
    "busy": "too much is on its way already: try again later, it goes on where it stopped",
}


async def answer(agent: Agent, request: Message, send: Send) -> Any:
    """Ask what a command asks: ``{"op": "ask", "ask": "search" | "retrieve" | …}``. DeviceError where it is refused."""
    desk = _Counter(agent, send)
    match request:
        case {"ask": "search", "keys": dict(keys), "page": int(page)}:
            return await desk.search(keys, page)
        case {"ask": "retrieve", "study": str(study)}:
            await desk.done(asks.Retrieve(*desk.by, study=study))
            return {"StudyInstanceUID": study, "state": "here"}
        case {"ask": "directory", "name": str(name)}:
            return await desk.directory(name)
        case {"ask": "share", "study": str(study), "with": str(whom), "until": int(until)}:
            kind, to = await desk.person(whom)
            await desk.done(asks.Share(*desk.by, study=study, to_kind=kind, to=to, until=until))
            return {"StudyInstanceUID": study, "with": whom, "until": until}
        case {"ask": "unshare", "study": str(study), "with": str(whom)}:
            kind, to = await desk.person(whom)
            await desk.done(asks.Unshare(*desk.by, study=study, to_kind=kind, to=to))
            return {"StudyInstanceUID": study, "with": whom}
        case {"ask": "release", "study": str(study)}:
            await desk.done(asks.Release(*desk.by, study=study))
            return {"StudyInstanceUID": study}
        case {"ask": "break_glass", "patient": str(patient), "issuer": str(issuer), "reason": str(reason)}:
            granted = await desk.one(asks.BreakGlass(*desk.by, patient, issuer, reason), asks.Granted)
            return {"PatientID": patient, "until": granted.until}
        case {"ask": "send", "path": str(path), "patient": str(patient), "issuer": str(issuer), "study": str(study),
              "description": str(description)}:  # fmt: skip
            stored = await desk.upload(Path(path), patient, issuer, study, description)
            return {"StudyInstanceUID": stored.StudyInstanceUID, "SOPInstanceUID": stored.SOPInstanceUID}
        case {"ask": "receipts", "study": str(study)}:
            account = await desk.one(asks.Receipts(*desk.by, study=study), asks.Account)
            return [
                {"kind": one.kind, "id": one.identifier, "name": one.name, "layer": one.layer, "event": one.event,
                 "at": one.at}
                for one in account.read
            ]  # fmt: skip
    raise DeviceError("a request that this version does not know")


class _Counter:
    """Where one question is asked."""

    def __init__(self, agent: Agent, send: Send) -> None:
        self._agent = agent
        self._send = send
        readers = sorted(agent.state.identity.recipients, key=lambda one: one.kind != "doctor")
        self.by: tuple[Kind, bytes] = (readers[0].kind, decode_reference(readers[0].recipient))
        """On whose behalf: of several recipients the doctor's, who may ask most."""

    async def one(self, body: Asked, kind: type[_T]) -> _T:
        """The last answer, which is to be of ``kind``. DeviceError says why it is not."""
        while True:
            try:
                found = await self._last(body)
            except LinkFailed:
                await asyncio.sleep(_RETRY_S)  # asked again over the next connection: every request may be
                continue
            if isinstance(found, kind):
                return found
            if isinstance(found, Refused):
                raise DeviceError(REFUSALS.get(found.reason, found.reason))
            raise DeviceError("the gateway answered something else")

    async def done(self, body: Asked) -> None:
        """The same, where there is no more to answer than that it is done."""
        await self.one(body, Done)

    async def _last(self, body: Asked, patience_s: float = CONNECT_S) -> AnswerBody:
        try:
            async with asyncio.timeout(patience_s):
                await self._agent.ready.wait()
        except TimeoutError:
            raise DeviceError("the gateway cannot be reached") from None
        session = self._agent.session
        if session is None:
            raise LinkFailed("the connection to the broker ended")
        answers = session.ask(body)
        try:
            while True:
                async with asyncio.timeout(ANSWER_S):
                    found = await anext(answers)
                if not isinstance(found, asks.Progress):
                    return found
                await self._send({"progress": [found.here, found.of]})
        except WireError:
            raise DeviceError("a value is too long, or holds what no header can") from None
        except TimeoutError:
            raise DeviceError("the gateway does not answer: `mpacs-device watch` shows whether it is there") from None
        finally:
            await answers.aclose()  # type: ignore[attr-defined]  # an async generator

    async def upload(self, path: Path, patient: str, issuer: str, study: str, description: str) -> asks.Stored:
        """Send a file up, over as many connections as it takes."""
        state = self._agent.state
        secret, about = state.keys.sign.private_bytes_raw(), (patient, issuer, study, description)
        parcel = await asyncio.to_thread(pack, path, state.identity.site, secret, about)
        body = asks.Upload(
            *self.by, patient, issuer, study, parcel.media, description, parcel.taken_ms,
            parcel.object, parcel.key, parcel.size, parcel.manifest.digest(),
        )  # fmt: skip
        sent: set[int] = set()
        while True:
            try:
                reply = await self._last(body, UPLOAD_PATIENCE_S)
                if isinstance(reply, asks.Wanted):
                    await self._publish(parcel, reply, sent)
            except LinkFailed:
                await asyncio.sleep(_RETRY_S)
                continue
            if isinstance(reply, asks.Stored):
                return reply
            if isinstance(reply, Refused):
                raise DeviceError(UPLOAD_REFUSALS.get(reply.reason, reply.reason))

    async def _publish(self, parcel: Parcel, wanted: asks.Wanted, sent: set[int]) -> None:
        """What the gateway lacks; the broker has it when this returns."""
        session = self._agent.session
        if session is None:
            raise LinkFailed("the connection to the broker ended")
        if not wanted.pages and not wanted.ranges:
            await asyncio.sleep(1.0)  # all of it is there: the gateway looks at it
        identity = self._agent.state.identity
        root = topics.object_root_of_device(identity.site, identity.device, encode_reference(parcel.object))
        for page in wanted.pages:
            await session.link.publish(f"{root}/m{page}", parcel.manifest.page_message(page))
        waiting: list[Awaitable[None]] = []
        for index in from_ranges(wanted.ranges):
            segment = await asyncio.to_thread(parcel.segment, index)
            waiting.append(session.link.post(f"{root}/{index}", segment))
            if len(waiting) >= _UNACKNOWLEDGED:
                await waiting.pop(0)
            sent.add(index)
        for one in waiting:
            await one
        await self._send({"progress": [len(sent), segment_count(parcel.size)]})

    async def search(self, keys: dict[str, Any], page: int) -> Message:
        """A page of what is found."""
        texts = {key: value for key, value in keys.items() if isinstance(value, str)}
        body = asks.Search(
            *self.by,
            PatientName=texts.get("PatientName", ""),
            PatientID=texts.get("PatientID", ""),
            AccessionNumber=texts.get("AccessionNumber", ""),
            StudyDate=texts.get("StudyDate", ""),
            ModalitiesInStudy=list(keys.get("ModalitiesInStudy", ())),
            BodyPartExamined=texts.get("BodyPartExamined", ""),
            StudyDescription=texts.get("StudyDescription", ""),
            page=page,
        )
        found = await self.one(body, asks.Found)
        lines = inflate_json(found.attributes)["studies"]
        studies = [
            {**_line(line), "own": place.own, "pacs": place.pacs}
            for line, place in zip(lines, found.studies, strict=True)
        ]
        return {"studies": studies, "more": found.more, "silent": found.silent}

    async def directory(self, name: str) -> list[Message]:
        """Everybody whom this device may share with, and whose name or identifier matches."""
        return [{"kind": one.kind, "id": one.identifier, "name": one.name} for one in await self._people(name)]

    async def person(self, whom: str) -> tuple[Kind, bytes]:
        """``doctor:ID`` or ``ward:ID`` as the wire names it."""
        kind, colon, identifier = whom.partition(":")
        if not colon or kind not in ("doctor", "ward"):
            raise DeviceError("name a colleague as doctor:ID or ward:ID")
        for one in await self._people(identifier[:64]):
            if one.kind == check_kind(kind) and one.identifier == identifier:
                return one.kind, one.recipient
        raise DeviceError(
            f"there is no such {kind} with whom this device may share: `mpacs-device directory` lists all"
        )

    async def _people(self, name: str) -> list[asks.Person]:
        people: list[asks.Person] = []
        for page in range(_MOST_PAGES):
            found = await self.one(asks.Directory(*self.by, name=name, page=page), asks.People)
            people += found.people
            if not found.more:
                break
        return people


def _line(line: attributes.DataSet) -> Message:
    """A study that was found, as ``studies`` describes those that are here."""
    keywords = ("StudyInstanceUID", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
                "StudyDescription", "AccessionNumber", "ModalitiesInStudy", "BodyPartExamined")  # fmt: skip
    count = (line.get("00201208") or {}).get("Value") or [0]
    return {
        **{keyword: attributes.text(line, keyword) for keyword in keywords},
        **attributes.name_groups(line),
        "CharacterSetGuessed": attributes.is_guessed(line),
        "NumberOfStudyRelatedInstances": int(count[0]),
    }
