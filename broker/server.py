"""The hardened broker: amqtt's life cycle and packets; sessions, queues and routing are ours.

Each override names the fault of amqtt 0.12.1 that it closes. They are overrides of private methods, so amqtt is pinned
and ``tests/broker`` runs every fault against both.
"""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

from amqtt.adapters import StreamReaderAdapter
from amqtt.broker import Broker, Server
from amqtt.contexts import BrokerConfig, ListenerConfig

from broker.access import AccessFile, Users
from broker.client import Client
from broker.config import Settings
from broker.connect import Admitted, Refusal, judge
from broker.errors import PacketRefused
from broker.hub import Hub, Member
from broker.listener import Admission, Listener, Ticket
from broker.outbox import Budget, Outbox
from broker.packets import ConnectPacket, encode_connack, read_packet
from broker.tls import Certificate

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 0.25
# A CONNECT holds names, a password and a will; strangers may send no more.
MAX_CONNECT_BYTES = 16 * 1024
CONNECTION_ACCEPTED = 0


class HardenedBroker(Broker):  # type: ignore[misc]  # amqtt's types are not followed
    """amqtt's broker with its listeners, sessions, access rules and delivery replaced."""

    def __init__(self, settings: Settings) -> None:
        # No plugins: the default ones log packets; ours is the only authentication, and there is no certificate plugin.
        super().__init__(BrokerConfig(listeners={"default": ListenerConfig(bind=None)}, plugins={}))
        self._settings = settings
        self._access = AccessFile(Path(settings.access), settings.site)
        self._following = asyncio.Lock()
        self._hub = Hub(settings.limits)
        self._admission = Admission(settings.limits)
        self._budget = Budget(settings.limits.pending_total_bytes)
        self._clients: dict[Member, tuple[Client, asyncio.Task[None]]] = {}
        self._certificate: Certificate | None = None
        self.addresses: dict[str, tuple[str, int]] = {}

    async def start(self) -> None:
        """Read the access file and listen. ConfigInvalid for a certificate that cannot be used; CannotListen."""
        self._access.refresh()
        await super().start()

    async def _start_listeners(self) -> None:
        # amqtt: a WebSocket listener that a cut-off packet drives to 100 % CPU and that deflates ciphertext; ``wss``
        # with a client certificate requested; connections without CONNECT kept for ever. Here: TCP and TLS only, each
        # connection counted before it is read.
        tcp, tls = self._settings.listeners.tcp, self._settings.listeners.tls
        if tcp is not None:
            self._listen("tcp", tcp.host, tcp.port, None)
        if tls is not None:
            self._certificate = Certificate(tls)
            self._listen("tls", tls.host, tls.port, self._certificate.context)

    def _listen(self, name: str, host: str, port: int, context: ssl.SSLContext | None) -> None:
        listener = Listener(host, port, context, self._admission, self._settings.limits, self._serve)
        self._servers[name] = Server(name, listener)
        self.addresses[name] = listener.host, listener.port

    async def _serve(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, ticket: Ticket
    ) -> None:
        # amqtt: sessions are wiped, taken over and attached before the password is compared; any user may use any
        # client identifier; a will is not judged; everyone gets what is retained under anyone's filter. Here ``judge``
        # comes first.
        stream = StreamReaderAdapter(reader)
        try:
            async with asyncio.timeout(self._settings.limits.connect_timeout_s):
                packet = await read_packet(stream, MAX_CONNECT_BYTES)
        except TimeoutError:
            log.info("no CONNECT in time from %s", address)
            return
        except PacketRefused as error:
            log.warning("refused %s: %s", address, error)
            return
        verdict = await self._judge(packet) if isinstance(packet, ConnectPacket) else Refusal(None, "no CONNECT")
        if isinstance(verdict, Refusal):
            log.warning("refused %s: %s", address, verdict.reason)
            await _close_with(writer, verdict.code)
            return
        ticket.authenticated()
        await self._serve_client(verdict, stream, writer)

    async def _judge(self, packet: ConnectPacket) -> Admitted | Refusal:
        verdict = judge(packet, self._access.users)
        if isinstance(verdict, Refusal) and self._access.changed():
            # A device that was enrolled a moment ago comes before the watch has looked.
            await self._follow_access()
            verdict = judge(packet, self._access.users)
        return verdict

    async def _serve_client(
        self, admitted: Admitted, stream: StreamReaderAdapter, writer: asyncio.StreamWriter
    ) -> None:
        limits = self._settings.limits
        outbox = Outbox(writer, limits, self._budget)
        member = Member(admitted.name, admitted.digest, admitted.rights, outbox, admitted.will)
        loop = asyncio.get_running_loop()
        client = Client(self._hub, member, stream, limits, admitted.keepalive_s, loop.time)
        # The older connection's will is published before the newer one can say anything.
        older = self._hub.join(member)
        if older is not None:
            self._end(older, older.reason)
        task = asyncio.current_task()
        assert task is not None
        self._clients[member] = client, task
        outbox.reply(encode_connack(CONNECTION_ACCEPTED))
        pump = asyncio.create_task(outbox.pump())
        # It only ends by itself when the connection is lost, which one who waits for it would not notice.
        pump.add_done_callback(lambda _: member.condemn("its connection was lost"))
        said_goodbye = False
        try:
            said_goodbye = await client.serve()
        except PacketRefused as error:
            log.warning("%s: %s", member.name, error)
        finally:
            del self._clients[member]
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await pump
            self._hub.leave(member, keep_will=not said_goodbye and not self._is_stopping())

    async def _broadcast_loop(self) -> None:
        # amqtt: one loop for all, linear in filters, that formats every payload, starts a task for each delivery, and
        # walks a dictionary that SUBSCRIBE changes under it (messages lost). Here ``Hub.publish`` delivers at once.
        await self._broadcast_shutdown_waiter

    async def _session_monitor(self) -> None:
        # amqtt: keepalive is never enforced, queues are never bounded. Here each client is looked at several times a
        # second.
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            try:
                if self._access.changed():
                    await self._follow_access()
                if self._certificate is not None:
                    self._certificate.follow()
                self._end_overdue()
            except Exception:
                # The watch must outlive any single fault: without it nothing is revoked any more.
                log.exception("the watch failed once")

    async def _follow_access(self) -> None:
        async with self._following:
            if self._access.changed():
                await self._refresh_access()

    async def _refresh_access(self) -> None:
        before = self._access.users
        # In a thread: thousands of users take a while to check, and deliveries go on.
        if not await asyncio.to_thread(self._access.refresh):
            return
        for member in self._hub.apply(self._access.users):
            self._hub.leave(member)
        self._forget_removed(before, self._access.users)
        log.info("access file: %d users", len(self._access.users))

    def _forget_removed(self, before: Users, after: Users) -> None:
        for name in before.keys() - after.keys():
            if before[name][1].role == "device":
                self._hub.retained.forget(name)

    def _end_overdue(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for member, (client, _) in list(self._clients.items()):
            reason = client.overdue(now_s)
            if reason is not None:
                self._end(member, reason)

    def _end(self, member: Member, reason: str) -> None:
        if member in self._clients:
            log.info("%s: ended: %s", member.name, reason)
            self._clients[member][1].cancel()

    def _is_stopping(self) -> bool:
        return bool(self.transitions.state != "started")


async def _close_with(writer: asyncio.StreamWriter, code: int | None) -> None:
    if code is not None:
        writer.write(encode_connack(code))
        writer.close()
        # Time for the answer to leave; the listener aborts the connection after this.
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
