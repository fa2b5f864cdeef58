"""Enrolment: from a one-time link to a device with keys, recipients and a lease."""

import asyncio
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from device_client.clock import Clock
from device_client.errors import AlreadyEnrolled, EnrolmentFailed, LinkFailed, LinkRefused
from device_client.link import Credentials, Link
from device_client.store import files, wipe
from device_client.store.keys import DeviceKeys, Identity, KeyFiles, Reader, Secrets
from device_client.tls import Address, authority_context, first_context, parse_broker
from wire import enrolment, hpke, sign, topics
from wire.enrolment import CodeKeys, Welcome
from wire.errors import WireError
from wire.names import encode_reference

REFUSED_FOR_S = 5.0
"""The broker may learn of a fresh link a moment after the link was shown."""
CONFIRM_AFTER_S = 3.0
_AGAIN_S = 0.5

Tell = Callable[[str], None]


async def enrol(
    folder: Path, uri: str, name: str, timeout_s: float | None, tell: Tell, replace: bool = False
) -> Identity:
    """Enrol this device with the link's gateway and write its state folder; its identity.

    Without ``timeout_s`` the answer is awaited as long as the link is good: an operator may have to confirm it.

    AlreadyEnrolled, unless ``replace``; EnrolmentFailed with what to do; LinkFailed if the broker cannot be reached.
    """
    if KeyFiles(folder).enrolled and not replace:
        raise AlreadyEnrolled
    try:
        link = enrolment.parse_link(uri)
    except WireError as error:
        raise EnrolmentFailed(
            f"this link cannot be used ({error}): copy all of it, quoted for the shell, or ask for a new one"
        ) from None
    if link.expires <= time.time() * 1000:
        raise EnrolmentFailed("this link has expired: ask for a new one")
    if timeout_s is None:
        timeout_s = link.expires / 1000 - time.time()
    address = parse_broker(link.broker)
    files.make_folder(folder)
    with files.FolderLock(folder):
        keys = DeviceKeys.generate()
        welcome = await _introduce(link, address, keys, name, timeout_s, tell)
        if address.tls:
            _check_authority(welcome.enrolled.authority)
        if replace:
            wipe.forget(folder)
        return _write(folder, link, keys, welcome)


async def _introduce(
    link: enrolment.Link, address: Address, keys: DeviceKeys, name: str, timeout_s: float, tell: Tell
) -> Welcome:
    reference = encode_reference(link.enrolment)
    code_keys = CodeKeys.derive(link.code, reference)
    payload = enrolment.pack_request(code_keys, link.site, reference, keys.sign, hpke.raw_public(keys.exchange), name)
    tls = await asyncio.to_thread(first_context, address, link.certificate)
    answers: asyncio.Queue[bytes] = asyncio.Queue(4)

    def arrived(topic: str, data: bytes, _retained: bool) -> None:
        if topic == topics.enrol_response(link.site, reference) and not answers.full():
            answers.put_nowait(data)

    fingerprint = sign.key_id(sign.raw_public(keys.sign)).hex(" ", 2)
    deadline, data = time.monotonic() + timeout_s, None
    while data is None:
        connection = await _connect(address, tls, Credentials(reference, code_keys.password), arrived)
        try:
            # The gateway answers the same bytes once more if the connection ended before the answer came.
            await connection.subscribe([topics.enrol_response(link.site, reference)])
            await connection.publish(topics.enrol_request(link.site, reference), payload)
            data = await _answer(answers, connection, fingerprint, deadline - time.monotonic(), tell)
        except LinkFailed:
            if time.monotonic() > deadline:
                raise
        finally:
            await connection.close()
        if data is None:
            await asyncio.sleep(_AGAIN_S)
    try:
        return enrolment.open_answer(link, reference, keys.exchange, payload, int(time.time() * 1000), data)
    except WireError as error:
        raise EnrolmentFailed(
            f"the answer is not of the gateway in the link ({error.code}): ask for a new link, "
            "and check this device's date and time"
        ) from None


async def _connect(
    address: Address, tls: ssl.SSLContext | None, credentials: Credentials, arrived: Callable[[str, bytes, bool], None]
) -> Link:
    deadline = time.monotonic() + REFUSED_FOR_S
    while True:
        connection = Link(address, tls, credentials, arrived)
        try:
            await connection.open()
        except LinkRefused:
            if time.monotonic() > deadline:
                raise EnrolmentFailed(
                    "the broker does not take this link: it was used already, failed too often or has expired; "
                    "ask for a new one"
                ) from None
            await asyncio.sleep(_AGAIN_S)
        else:
            return connection


async def _answer(
    answers: asyncio.Queue[bytes], connection: Link, fingerprint: str, timeout_s: float, tell: Tell
) -> bytes | None:
    """The answer; None if the connection ended first. EnrolmentFailed if neither happens in time."""
    answer = asyncio.ensure_future(answers.get())
    ended = asyncio.ensure_future(connection.closed())
    try:
        await asyncio.wait(
            [answer, ended], timeout=min(CONFIRM_AFTER_S, timeout_s), return_when=asyncio.FIRST_COMPLETED
        )
        if not answer.done() and not ended.done():
            tell(f"waiting for the gateway; where it asks for confirmation, this device's fingerprint is {fingerprint}")
            left_s = max(timeout_s - CONFIRM_AFTER_S, 0.0)
            await asyncio.wait([answer, ended], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if ended.done():
            return None
        raise EnrolmentFailed(
            "the gateway did not answer in time: it is not running, nobody confirmed this device, "
            "or the link was used already; ask for a new one"
        )
    finally:
        answer.cancel()
        ended.cancel()


def _check_authority(authority: bytes) -> None:
    try:
        authority_context(authority)
    except (ssl.SSLError, UnicodeDecodeError, ValueError):
        raise EnrolmentFailed("the gateway sent an authority that is none: ask its operator") from None


def _write(folder: Path, link: enrolment.Link, keys: DeviceKeys, welcome: Welcome) -> Identity:
    enrolled, key_files = welcome.enrolled, KeyFiles(folder)
    identity = Identity(
        version=1,
        site=link.site,
        device=encode_reference(enrolled.device),
        broker=link.broker,
        authority=enrolled.authority,
        password=enrolled.password,
        root=welcome.root,
        key_set=welcome.key_set_bytes,
        recipients=[Reader(one.kind, encode_reference(one.recipient)) for one in enrolled.recipients],
    )
    secrets = Secrets(
        labels=[one.label for one in enrolled.recipients],
        epochs=[[] for _ in enrolled.recipients],
        signers=[one.public for one in welcome.key_set.online],
        first_heads=[one.head for one in enrolled.recipients],
    )
    # Before anything else is believed, the clock knows when the gateway spoke.
    Clock(folder / "clock").keep_at_least(enrolled.issued)
    key_files.create(keys, identity, enrolled.lease, secrets)
    return identity
