"""What the gateway is asked beyond what it announces: search, fetch, share; as commands ask it and see it."""

import asyncio
from typing import Any, TypeVar

from device_client import attributes
from device_client.agent import Agent
from device_client.control import Message, Send
from device_client.errors import DeviceError, LinkFailed
from wire import asks
from wire.asks import Asked
from wire.errors import WireError
from wire.messages import AnswerBody, Done, Refused
from wire.names import Kind, check_kind, decode_reference
from wire.objects import inflate_json

CONNECT_S = 20.0
ANSWER_S = 90.0
"""Without an answer or progress; a PACS may take its time."""
_MOST_PAGES = 200

_T = TypeVar("_T")

REFUSALS = {
    "forbidden": "the gateway has no such study or person for this device",
    "gone": "no PACS has this study any more",
    "busy": "not all of it can be had now: the PACS does not answer, or the gateway has too much to do; try again",
    "unsupported": "the gateway does not do this for this device",
    "malformed": "the gateway does not understand the request",
    "stale": "the gateway's clock and this device's are more than seven days apart",
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
                continue  # asked again over the next connection: every request may be
            if isinstance(found, kind):
                return found
            if isinstance(found, Refused):
                raise DeviceError(REFUSALS.get(found.reason, found.reason))
            raise DeviceError("the gateway answered something else")

    async def done(self, body: Asked) -> None:
        """The same, where there is no more to answer than that it is done."""
        await self.one(body, Done)

    async def _last(self, body: Asked) -> AnswerBody:
        try:
            async with asyncio.timeout(CONNECT_S):
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
