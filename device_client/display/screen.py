"""What a ward's screen shows and says: a state machine over the board and a clock that is passed in. No drawing, no IO.

Everything is decided in ``look``, from the last board and how long ago it came: whether what is shown is current, when
pictures are hidden, which study is large and which of its frames. All times are milliseconds of the device's clock.
"""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate

from device_client.display.board import Board, Frame, Study
from device_client.display.settings import Settings
from device_client.display.view import Card, Large, Level, View
from device_client.display.words import age, say

SILENT_MS = 10_000
"""A receiver that did not say anything for so long does not run."""
_MOST_DWELL_FACTOR = 4.5
_SHIFTS = ((0, 0), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
"""In steps of the painter's: around the middle, so that no edge stands still."""


@dataclass(frozen=True)
class Playing:
    """The study that is large: since when, and where it stands still if somebody stopped it."""

    study: str = ""
    since_ms: int = 0
    held: int | None = None


class Screen:
    """One for a display. Boards and frames go in, views come out."""

    def __init__(self, settings: Settings, local: Callable[[int], datetime]) -> None:
        """``local`` says what the wall's clock shows at a time."""
        self.settings = settings
        self._local = local
        self._board = Board()
        self._heard_ms = 0
        self._playing = Playing()
        self._frames: tuple[Frame, ...] = ()
        self._frames_of: tuple[str, tuple[int, ...]] = ("", ())
        self._ends: list[float] = []
        self._known: set[str] | None = None
        self._touched_ms: int | None = None

    # ── what comes in ─────────────────────────────────────────────────────────────────────────────────────────────

    def take_board(self, board: Board) -> None:
        """What the receiver says now. Who left it leaves the screen with it."""
        if board.store == "receiver-gone":
            # Nothing new is known: what was known grows old.
            self._board = replace(self._board, store="receiver-gone", connected=False)
            return
        self._board, self._heard_ms = board, board.now_ms
        there = [one.study for one in board.studies]
        new = [] if self._known is None else [study for study in there if study not in self._known]
        self._known = set(there)
        if self._playing.study not in there:
            self._play(there[0] if there else "", board.now_ms)
        elif new and not self._is_touched(board.now_ms):
            self._play(new[0], board.now_ms)

    def take_frames(self, study: str, version: tuple[int, ...], frames: tuple[Frame, ...]) -> None:
        """The pictures of a study that are here, in the order in which they are shown."""
        if study != self._playing.study:
            return
        self._frames, self._frames_of = frames, (study, version)
        self._ends = list(accumulate(self._durations_ms(frames)))

    def wants_frames(self) -> tuple[str, tuple[int, ...]] | None:
        """``(study, version)`` of which the pictures are to be asked for; None if they are known."""
        study = self._study()
        if study is None or self._frames_of == (study.study, study.version):
            return None
        return study.study, study.version

    def step_study(self, by: int, now_ms: int) -> None:
        """Somebody wants the next study, or the one before."""
        there = [one.study for one in self._board.studies]
        if there and self._playing.study in there:
            self.choose(there[(there.index(self._playing.study) + by) % len(there)], now_ms)

    def choose(self, study: str, now_ms: int) -> None:
        """Somebody chose a study from the list."""
        self._touched_ms = now_ms
        if study != self._playing.study and any(one.study == study for one in self._board.studies):
            self._play(study, now_ms)

    def step_frame(self, by: int, now_ms: int) -> None:
        """Somebody wants the next picture of the stack, or one before; the stack stands still then."""
        self._touched_ms = now_ms
        if self._frames:
            self._playing = replace(self._playing, held=(self._index(now_ms) + by) % len(self._frames))

    def pause(self, now_ms: int) -> None:
        """Somebody stops the stack, or lets it run on from where it stands."""
        self._touched_ms = now_ms
        held = self._playing.held
        if held is None:
            self._playing = replace(self._playing, held=self._index(now_ms))
        else:
            passed = self._ends[held - 1] if 0 < held <= len(self._ends) else 0.0
            self._playing = replace(self._playing, held=None, since_ms=now_ms - int(passed))

    # ── what comes out ────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, now_ms: int) -> View:
        """What the screen shows at ``now_ms``."""
        local = self._local(now_ms)
        settings = self.settings
        view = View(
            label=self._board.label,
            clock=f"{local:%H:%M}",
            off=settings.off is not None and settings.off.holds(local.time()),
            brightness=settings.night_level if settings.night and settings.night.holds(local.time()) else 1.0,
            shift=_SHIFTS[int(now_ms / 1000 / settings.shift_every_s) % len(_SHIFTS)],
        )
        key, level = self._standing(now_ms)
        since = self._since(now_ms)
        facts = {
            "at": since,
            "age": age(settings.language, now_ms - self._board.issued_ms),
            "reason": self._board.reason,
        }
        view = replace(view, standing=key, level=level, banner=say(settings.language, key, **facts))
        if level == "stop":
            return replace(view, notice=say(settings.language, f"{key}-why", **facts))
        self._rotate(now_ms)
        if not self._board.studies:
            word = "empty" if key == "current" else "starting"
            return replace(view, notice=say(settings.language, word))
        return replace(view, cards=self._cards(now_ms), large=self._large(now_ms))

    def next_look_ms(self, now_ms: int) -> int:
        """How long until the screen may look otherwise by itself."""
        study = self._study()
        if study is None or self._playing.held is not None or len(self._frames) < 2:
            return 500
        position = (now_ms - self._playing.since_ms) % max(self._ends[-1], 1.0)
        return max(10, min(500, int(self._ends[self._index(now_ms)] - position) + 1))

    def _standing(self, now_ms: int) -> tuple[str, Level]:
        """What is to be said of how current all this is; the worst first."""
        board = self._board
        if board.store in ("lease-ended", "card-gone", "not-enrolled"):
            return board.store, "stop"
        if board.revoked:
            return "revoked", "stop"
        if not board.issued_ms:
            return "starting", "warn"
        if now_ms - board.issued_ms > self._blank_after_s() * 1000:
            return "blanked", "stop"
        if board.storage:
            return f"storage-{board.storage}", "warn"
        if board.store == "receiver-gone" or now_ms - self._heard_ms > SILENT_MS:
            return "receiver-gone", "warn"
        if not board.connected:
            return "disconnected", "warn"
        if not board.gateway_online:
            return "gateway-gone", "warn"
        if board.overdue:
            return "overdue", "warn"
        return ("updating", "ok") if board.behind else ("current", "ok")

    def _blank_after_s(self) -> float:
        """The stricter of what this display was started with and what the site lays down."""
        own, site = self.settings.blank_after_s, self._board.blank_after_s
        return min(own, site) if site else own

    def _since(self, now_ms: int) -> str:
        issued = self._board.issued_ms
        if not issued:
            return "--:--"
        then, now = self._local(issued), self._local(now_ms)
        return f"{then:%H:%M}" if then.date() == now.date() else f"{then:%m-%d %H:%M}"

    def _cards(self, now_ms: int) -> tuple[Card, ...]:
        return tuple(self._card(study, now_ms) for study in self._board.studies)

    def _card(self, study: Study, now_ms: int) -> Card:
        language = self.settings.language
        state = "" if study.settled and study.percent >= 100 else f"{say(language, 'growing')} {study.percent} %"
        return Card(
            study=study.study,
            bed=study.bed,
            name=study.name or say(language, "no-name"),
            line=" · ".join(filter(None, ("/".join(study.modalities), study.description))),
            age=age(language, now_ms - study.at_ms),
            state=state,
            urgent=say(language, "urgent") if study.urgent else "",
            chosen=study.study == self._playing.study,
        )

    def _large(self, now_ms: int) -> Large | None:
        study = self._study()
        if study is None:
            return None
        language = self.settings.language
        if not self._frames or self._frames_of[0] != study.study:
            word = "loading" if study.frames else "no-picture"
            return Large(study=study.study, frame=None, position="", caption="", notice=say(language, word))
        index = self._index(now_ms)
        frame = self._frames[index]
        facts = [say(language, "lossy", ratio=f"{frame.ratio / 100:.0f}")] if frame.lossy and frame.ratio > 100 else []
        held = [say(language, "paused")] if self._playing.held is not None else []
        caption = " · ".join([*facts, *held, say(language, "not-for-diagnosis")])
        return Large(study.study, frame, f"{index + 1} / {len(self._frames)}", caption, "")

    # ── which study, which frame ──────────────────────────────────────────────────────────────────────────────────

    def _play(self, study: str, now_ms: int) -> None:
        self._playing = Playing(study, now_ms)
        self._frames, self._frames_of, self._ends = (), ("", ()), []

    def _study(self) -> Study | None:
        return next((one for one in self._board.studies if one.study == self._playing.study), None)

    def _is_touched(self, now_ms: int) -> bool:
        # A clock that was set back must not hold the rotation for as long as it was wrong.
        return self._touched_ms is not None and 0 <= now_ms - self._touched_ms < self.settings.idle_s * 1000

    def _rotate(self, now_ms: int) -> None:
        """Nobody is there: the next study, once this one has run through."""
        if self._is_touched(now_ms):
            return
        if now_ms < self._playing.since_ms:
            self._playing = replace(self._playing, since_ms=now_ms)
        if self._playing.held is not None:
            self._playing = replace(self._playing, held=None)
        there = [one.study for one in self._board.studies]
        if len(there) > 1 and self._playing.study in there and now_ms - self._playing.since_ms >= self._dwell_ms():
            self._play(there[(there.index(self._playing.study) + 1) % len(there)], now_ms)

    def _dwell_ms(self) -> float:
        """Whole passes of the stack, at least the dwell time; a long one is left before its end."""
        dwell = self.settings.dwell_s * 1000
        whole = self._ends[-1] if self._ends else dwell
        return min(max(dwell, -(-dwell // whole) * whole), dwell * _MOST_DWELL_FACTOR)

    def _durations_ms(self, frames: tuple[Frame, ...]) -> list[float]:
        alone = {frame.series: 0 for frame in frames}
        for frame in frames:
            alone[frame.series] += 1
        settings = self.settings
        return [
            1000 / (frame.rate_hz or settings.stack_hz) if alone[frame.series] > 1 else settings.still_s * 1000
            for frame in frames
        ]

    def _index(self, now_ms: int) -> int:
        if self._playing.held is not None:
            return min(self._playing.held, max(len(self._frames) - 1, 0))
        if not self._ends:
            return 0
        position = max(now_ms - self._playing.since_ms, 0) % self._ends[-1]
        return min(bisect_right(self._ends, position), len(self._frames) - 1)
