"""The state folder of a device: what is always readable, and what a running lease opens."""

import hashlib
from pathlib import Path
from typing import Literal

import msgspec

from device_client.clock import Clock
from device_client.errors import DeviceWiped, NotEnrolled, StoreBroken
from device_client.ledger import Held, Ledger
from device_client.store import files, storage, wipe
from device_client.store.blobs import Blobs, DiskCalls
from device_client.store.catalogue import Catalogue, StudyRecord
from device_client.store.keys import MAX_EPOCHS, EpochKey, KeyFiles
from device_client.store.papers import Papers
from wire import envelope, keyset, sign, topics
from wire.errors import Stale, WireError
from wire.keyset import KeySet
from wire.messages import Head, Lease

MAX_SIGNERS = 256


class State:
    """One state folder, owned by this process while the object lives."""

    def __init__(self, folder: Path) -> None:
        """NotEnrolled without a device in it, Busy while another process owns it."""
        self.folder = folder
        self.key_files = KeyFiles(folder)
        if not self.key_files.enrolled and not wipe.is_ordered(folder):
            raise NotEnrolled
        files.make_folder(folder)
        self._lock = files.FolderLock(folder)
        try:
            files.sweep(folder)
            self._finish_wipe()
            self.identity = self.key_files.load_identity()
            self.keys = self.key_files.load_keys()
            self.clock = Clock(folder / "clock")
            self.storage = storage.load(folder)
            topic = topics.gateway_keys(self.identity.site)
            _, self.key_set = keyset.unpack(self.identity.root, self.identity.site, topic, self.identity.key_set)
        except BaseException:
            self._lock.release()
            raise

    def choose_storage(self, path: str | None, at_rest: storage.AtRest | None, quota_bytes: int | None) -> None:
        """See storage.choose; before the store is opened."""
        self.storage = storage.choose(self.folder, path, at_rest, quota_bytes)

    def close(self) -> None:
        """Let another process have the folder."""
        self._lock.release()

    @property
    def is_being_wiped(self) -> bool:
        """Whether the gateway ordered this device to erase itself."""
        return wipe.is_ordered(self.folder)

    def _finish_wipe(self) -> None:
        """Where a crash came between, DeviceWiped: without all of its keys the device can say nothing any more."""
        if not self.is_being_wiped:
            return
        wipe.erase_received(self.folder)
        try:
            self.key_files.load_identity()
            self.key_files.load_keys()
        except (NotEnrolled, StoreBroken):
            wipe.erase_all(self.folder)
            raise DeviceWiped from None

    def unlock(self, disk: DiskCalls | None = None) -> "Store":
        """The store; LeaseEnded once the lease has run out, DeviceWiped where it is being erased."""
        if self.is_being_wiped:
            raise DeviceWiped
        lease = self.key_files.load_lease(self.clock.now_ms())
        return Store(self, lease, disk)

    def take_key_set(self, data: bytes) -> KeySet | None:
        """Verify a key set and keep it if it is newer; None if it is the one that is known, Stale if older."""
        identity = self.identity
        topic = topics.gateway_keys(identity.site)
        root, key_set = keyset.unpack(identity.root, identity.site, topic, data)
        if key_set.sequence < self.key_set.sequence:
            raise Stale("a key set that is older than what is known")
        if key_set.sequence == self.key_set.sequence:
            return None
        self.identity = msgspec.structs.replace(identity, root=root, key_set=data)
        self.key_files.save_identity(self.identity)
        self.key_set = key_set
        return key_set


class Store:
    """What the lease opens: labels, epoch keys, catalogue, heads, announcements, objects."""

    def __init__(self, state: State, lease: Lease, disk: DiskCalls | None = None) -> None:
        """Read everything and judge it anew; what does not open is left out and comes again by a sync."""
        self.state = state
        self.lease = lease
        self._key = state.keys.store_key(lease.secret)
        self._device = state.identity.device
        self.secrets = state.key_files.load_secrets(self._key, self._device)
        self.catalogue = Catalogue(state.folder / "catalogue.json")
        self.papers = Papers(state.folder)
        self.blobs = Blobs(storage.objects_folder(state.folder, state.storage), disk)
        self.ledger = Ledger([(reader.kind, reader.recipient) for reader in state.identity.recipients])
        self.unreadable = 0
        self.remember_signers(state.key_set)
        self._load()

    @property
    def site(self) -> str:
        """The site's slug."""
        return self.state.identity.site

    def budget_bytes(self) -> int:
        """How much objects may take on the disk; OSError where it is not there."""
        return storage.budget_bytes(self.state.folder, self.state.storage)

    # ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _position(self, recipient: str) -> int:
        return next(i for i, one in enumerate(self.state.identity.recipients) if one.recipient == recipient)

    def label(self, recipient: str) -> str:
        """How people call the recipient."""
        return self.secrets.labels[self._position(recipient)]

    def epoch(self, recipient: str) -> EpochKey | None:
        """The latest epoch; its key is empty if the device has none in it."""
        epochs = self.secrets.epochs[self._position(recipient)]
        return epochs[-1] if epochs else None

    def epoch_keys(self, recipient: str) -> dict[int, bytes]:
        """All epoch keys that are kept."""
        return {entry.epoch: entry.key for entry in self.secrets.epochs[self._position(recipient)] if entry.key}

    def add_epoch(self, recipient: str, epoch: int, key: bytes | None) -> None:
        """Keep a newer epoch, with its key or with the fact that there is none."""
        position = self._position(recipient)
        kept = [entry for entry in self.secrets.epochs[position] if entry.epoch != epoch]
        epochs = list(self.secrets.epochs)
        epochs[position] = [*kept, EpochKey(epoch, key or b"")][-MAX_EPOCHS:]
        self.secrets = msgspec.structs.replace(self.secrets, epochs=epochs)
        self._save()

    def remember_signers(self, key_set: KeySet) -> None:
        """What these keys signed stays readable after they have expired."""
        known = self.secrets.signers
        new = [key.public for key in key_set.online if key.public not in known]
        if new:
            self.secrets = msgspec.structs.replace(self.secrets, signers=[*known, *new][-MAX_SIGNERS:])
            self._save()

    def _save(self) -> None:
        self.state.key_files.save_secrets(self._key, self._device, self.secrets)

    def _find_signer(self, key_id: bytes) -> bytes | None:
        return {sign.key_id(public): public for public in self.secrets.signers}.get(key_id)

    # ── loading ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _load(self) -> None:
        now_ms = self.state.clock.now_ms()
        for recipient, study, data in self.papers.load_announcements():
            self._load_announcement(recipient, study, data)
        for shelf in self.ledger.shelves.values():
            latest = self.epoch(shelf.recipient)
            shelf.revoked = latest is not None and not latest.key
            sequence, data = self.papers.load_head(shelf.recipient)
            # The head that was current at the enrolment may still be the current one: it must pass as newer.
            first = self.secrets.first_heads[self._position(shelf.recipient)] - 1
            shelf.sequence = max(sequence, first, 0)
            head = self._open_head(shelf.recipient, data) if data else None
            if head is not None and head.sequence == shelf.sequence:
                shelf.take_head(head, now_ms)

    def _open_head(self, recipient: str, data: bytes) -> Head | None:
        shelf = self.ledger.shelves[recipient]
        try:
            return envelope.open_head(
                self._find_signer, self.site, shelf.kind, recipient, self.epoch_keys(recipient), data
            )
        except WireError:
            self.unreadable += 1
            return None

    def _load_announcement(self, recipient: str, study: str, data: bytes) -> None:
        shelf = self.ledger.shelves.get(recipient)
        if shelf is None:
            return
        record = self.catalogue.studies.get((recipient, study))
        keys = self.epoch_keys(recipient)
        try:
            announcement = envelope.open_announcement(
                self._find_signer, self.site, shelf.kind, recipient, study, keys, data
            )
            held = Held(shelf.kind, recipient, study, announcement, hashlib.sha256(data).digest())
            held.check()
        except WireError:
            self.unreadable += 1
            return
        if record is None or record.sequence <= announcement.sequence:
            shelf.take_announcement(held)

    # ── changing ──────────────────────────────────────────────────────────────────────────────────────────────────

    def save_announcements(self, received: list[tuple[Held, bytes]]) -> None:
        """Keep announcements, then their records; blocking."""
        self.papers.save_announcements([(held.recipient, held.study, data) for held, data in received])
        self.catalogue.put_studies([study_record(held, "announced") for held, _ in received])
        self.catalogue.flush()

    def take_lease(self, lease: Lease) -> None:
        """Keep a renewed lease; should its secret be another one, the vault is sealed anew; blocking."""
        if lease.secret != self.lease.secret:
            self._key = self.state.keys.store_key(lease.secret)
            self._save()
        self.state.key_files.save_lease(lease)
        self.lease = lease

    def remove_studies(self, keys: list[tuple[str, str]]) -> None:
        """Delete studies: the announcement first, because it holds the keys of the objects; blocking."""
        self.papers.remove(keys)
        self.catalogue.forget(keys)
        self.catalogue.flush()

    def remove_unannounced(self, announced: set[str]) -> None:
        """Delete what is kept of objects that are no longer announced; blocking."""
        if self.unreadable:
            # Objects of an announcement that does not open may be announced again as they are.
            return
        self.blobs.remove(sorted(self.blobs.held() - announced))


def study_record(held: Held, state: Literal["announced", "complete"]) -> StudyRecord:
    """The catalogue's record of a study."""
    return StudyRecord(held.kind, held.recipient, held.study, held.announcement.sequence, state)
