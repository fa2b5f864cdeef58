"""A day of a ward's screen in a moment: the clock is passed in, and what the screen says at each step is asserted."""

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from device_client.display.board import Board, Frame, Study, read_board, shown_bed, shown_name, sort
from device_client.display.screen import Screen
from device_client.display.settings import Hours, Settings

MORNING = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)
SECOND = 1000
MINUTE = 60 * SECOND
HEAD_EVERY = 15 * SECOND
OVERDUE_AFTER = 20 * SECOND


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def study(name: str, bed: str, at: datetime, urgent: bool = False, frames: int = 3) -> Study:
    return Study(
        f"ref-{name}", name, bed, ("CT",), "Chest", ms(at), urgent, True, frames, 100, (1, frames, 1),
    )  # fmt: skip


def frames_of(one: Study) -> tuple[Frame, ...]:
    return tuple(
        Frame(f"object-{one.study}", 100 * n, 100 * n + 100, "1.2", 0.0, True, 1800) for n in range(one.frames)
    )


class Ward:
    """A ward's receiver, as the screen hears of it, and the clock."""

    def __init__(self, **settings: object) -> None:
        self.now = ms(MORNING)
        self.screen = Screen(Settings(language="en", **settings), lambda t: datetime.fromtimestamp(t / 1000, UTC))
        self.studies: list[Study] = []
        self.gateway = self.connected = True
        self.issued = 0
        self.store = "open"
        self.revoked = False

    def board(self) -> Board:
        if self.gateway and self.connected and self.now - self.issued >= HEAD_EVERY:
            self.issued = self.now
        return Board(
            store=self.store,  # type: ignore[arg-type]
            now_ms=self.now,
            connected=self.connected,
            gateway_online=True,
            label="Ward 3",
            issued_ms=self.issued,
            overdue=self.now - self.issued > OVERDUE_AFTER,
            revoked=self.revoked,
            studies=() if self.revoked or self.store != "open" else tuple(sort(self.studies)),
        )

    def look(self):
        self.screen.take_board(self.board())
        wanted = self.screen.wants_frames()
        if wanted is not None:
            one = next(one for one in self.studies if one.study == wanted[0])
            self.screen.take_frames(*wanted, frames_of(one))
        return self.screen.look(self.now)

    def after(self, milliseconds: int):
        """The receiver speaks every two seconds meanwhile."""
        ends = self.now + milliseconds
        while self.now < ends:
            self.now = min(self.now + 2 * SECOND, ends)
            view = self.look()
        return view

    @property
    def time(self) -> datetime:
        return datetime.fromtimestamp(self.now / 1000, UTC)


def names(view) -> list[str]:
    return [card.name for card in view.cards]


def test_a_day() -> None:
    ward = Ward(blank_after_s=1800, dwell_s=20)
    view = ward.look()
    assert view.banner == "Current as of 06:00" and view.notice == "No studies in this ward"

    ward.studies = [study("Hong", "301-2", ward.time)]
    view = ward.after(2 * SECOND)
    assert names(view) == ["Hong"] and view.large.frame is not None and view.cards[0].age == "2 s"

    ward.studies.append(study("Lee", "302-1", ward.time))
    view = ward.after(2 * SECOND)
    assert names(view) == ["Lee", "Hong"], "the newest is first"
    assert view.large.study == "ref-Lee", "and what is new is shown"

    ward.studies.append(study("Park", "303-1", ward.time - timedelta(hours=3), urgent=True))
    view = ward.after(2 * SECOND)
    assert names(view) == ["Park", "Lee", "Hong"] and view.cards[0].urgent == "STAT", "a critical one before newer ones"

    # Transferred: gone with the very next board, and so is the picture.
    ward.studies = [one for one in ward.studies if one.name != "Park"]
    view = ward.after(2 * SECOND)
    assert names(view) == ["Lee", "Hong"] and view.large.study != "ref-Park"

    ward.studies = [one for one in ward.studies if one.name != "Lee"]  # discharged
    view = ward.after(2 * SECOND)
    assert names(view) == ["Hong"] and view.large.study == "ref-Hong"

    gone_at = ward.time
    ward.gateway = False
    view = ward.after(30 * SECOND)
    assert view.level == "warn" and view.banner.startswith("NOT CURRENT since 06:00 (")
    assert view.cards and view.large.frame is not None, "what was current a moment ago is still of use"
    view = ward.after(31 * MINUTE)
    assert view.standing == "blanked" and view.banner.startswith("HIDDEN: not current since 06:00 (3")
    assert not view.cards and view.large is None and view.notice, "no picture and no name"
    assert ward.time - gone_at > timedelta(minutes=30)

    ward.gateway = True
    view = ward.after(2 * SECOND)
    assert view.standing == "current" and names(view) == ["Hong"] and view.large.frame is not None

    ward.connected = False
    view = ward.after(2 * SECOND)
    assert view.standing == "disconnected"
    ward.connected = True
    assert ward.after(16 * SECOND).standing == "current"

    ward.revoked = True
    view = ward.after(2 * SECOND)
    assert view.banner == "This screen no longer belongs to the ward" and not view.cards and view.large is None


def test_a_lease_that_ended_shows_nothing() -> None:
    ward = Ward()
    ward.studies = [study("Hong", "301-2", ward.time)]
    ward.look()
    ward.store = "lease-ended"
    view = ward.after(2 * SECOND)
    assert view.level == "stop" and not view.cards and view.large is None


def test_a_receiver_that_does_not_answer_is_said_within_seconds_and_blanked_in_time() -> None:
    ward = Ward(blank_after_s=600)
    ward.studies = [study("Hong", "301-2", ward.time)]
    ward.look()
    ward.now += 11 * SECOND  # not a word meanwhile
    assert ward.screen.look(ward.now).standing == "receiver-gone"
    ward.screen.take_board(Board())
    view = ward.screen.look(ward.now)
    assert view.standing == "receiver-gone" and names(view) == ["Hong"]
    view = ward.screen.look(ward.now + 600 * SECOND)
    assert view.standing == "blanked" and not view.cards


@pytest.mark.parametrize(("own", "site", "limit"), [(1800, 600, 600), (600, 1800, 600), (600, 0, 600)])
def test_pictures_are_hidden_by_the_stricter_limit_of_display_and_site(own: int, site: int, limit: int) -> None:
    ward = Ward(blank_after_s=own)
    ward.studies = [study("Hong", "301-2", ward.time)]
    board = replace(ward.board(), blank_after_s=site)
    ward.screen.take_board(board)
    assert ward.screen.look(ward.now + limit * SECOND).cards
    ward.screen.take_board(Board())  # the receiver has gone: what it said last still counts
    assert ward.screen.look(ward.now + limit * SECOND).cards
    hidden = ward.screen.look(ward.now + limit * SECOND + 1)
    assert hidden.standing == "blanked" and not hidden.cards and hidden.large is None


def test_without_anybody_studies_take_turns_and_a_touch_holds_them() -> None:
    ward = Ward(dwell_s=20, idle_s=60)
    ward.studies = [study(name, "1", ward.time, frames=1) for name in ("A", "B", "C")]
    shown = []
    for _ in range(6):
        shown.append(ward.look().large.study)
        ward.after(20 * SECOND)
    assert shown[:3] == shown[3:] and len(set(shown)) == 3
    ward.screen.choose("ref-B", ward.now)
    ward.studies.append(study("D", "1", ward.time))
    for _ in range(29):
        assert ward.after(2 * SECOND).large.study == "ref-B", "also where something new comes"
    assert ward.after(62 * SECOND).large.study != "ref-B"


def test_a_stack_runs_by_the_clock_and_stands_where_it_was_stopped() -> None:
    ward = Ward(stack_hz=10, dwell_s=1000)
    ward.studies = [study("Hong", "301-2", ward.time, frames=300)]
    ward.look()
    start = ward.now
    positions = []
    for ward.now in range(start, start + 1000, 100):
        positions.append(ward.look().large.position)
    assert positions == [f"{n} / 300" for n in range(1, 11)]
    ward.screen.pause(ward.now)
    ward.now += 5 * SECOND
    assert ward.look().large.position == "10 / 300" and "paused" in ward.look().large.caption
    ward.screen.step_frame(-1, ward.now)
    assert ward.look().large.position == "9 / 300"
    ward.screen.pause(ward.now)
    assert ward.look().large.position == "9 / 300"
    ward.now += 100
    assert ward.look().large.position == "10 / 300"


def test_a_file_says_how_fast_it_runs() -> None:
    ward = Ward(stack_hz=10)
    ward.studies = [study("Echo", "1", ward.time, frames=40)]
    ward.screen.take_board(ward.board())
    wanted = ward.screen.wants_frames()
    assert wanted is not None
    cine = tuple(replace(one, rate_hz=20.0) for one in frames_of(ward.studies[0]))
    ward.screen.take_frames(*wanted, cine)
    assert ward.screen.look(ward.now + 1000).large.position == "21 / 40"


@pytest.mark.parametrize("jump_s", [-86_400 * 20_000, -3600, 3600, 86_400])
def test_a_clock_that_jumps_does_not_stop_the_screen(jump_s: int) -> None:
    ward = Ward(dwell_s=20)
    ward.studies = [study(name, "1", ward.time, frames=1) for name in ("A", "B")]
    ward.look()
    ward.screen.pause(ward.now)
    ward.now += jump_s * SECOND
    ward.issued = ward.now
    assert ward.after(2 * SECOND).standing == "current"
    seen = {ward.after(10 * SECOND).large.study for _ in range(18)}
    assert seen == {"ref-A", "ref-B"}


def test_nights_are_dim_screens_go_off_and_nothing_stands_still_for_ever() -> None:
    ward = Ward(night=Hours(time(22), time(6)), off=Hours(time(1), time(5)), night_level=0.3)
    ward.studies = [study("Hong", "1", ward.time)]
    assert ward.look().brightness == 1.0
    ward.now = ms(MORNING.replace(hour=23))
    assert ward.look().brightness == 0.3 and not ward.look().off
    ward.now = ms(MORNING.replace(hour=2))
    assert ward.look().off
    shifts = set()
    for ward.now in range(ms(MORNING), ms(MORNING) + 9 * MINUTE, MINUTE):
        shifts.add(ward.look().shift)
    assert len(shifts) == 9 and all(-1 <= step <= 1 for shift in shifts for step in shift)


@pytest.mark.parametrize("text", ["22:00", "25:00-06:00", "22:00-", ""])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Hours.parse(text)


def test_names_and_beds_as_a_ward_reads_them() -> None:
    masked = {"PatientName": "H**^G**", "PatientNameIdeographic": "洪^*洞", "PatientNamePhonetic": "홍^*동"}
    assert shown_name(masked) == "홍*동"
    assert shown_name({"PatientName": "H**^G**"}) == "H** G**"
    assert shown_name({"PatientName": "홍^*동"}) == "홍*동"
    assert shown_name({"PatientName": ""}) == ""
    assert shown_bed("W3^301^2") == "301-2" and shown_bed("W3") == "W3" and shown_bed("") == ""
    assert shown_name({"PatientName": "A\x1b[31m"}) == "A\N{REPLACEMENT CHARACTER}[31m"


def test_a_board_without_a_lease() -> None:
    board = read_board({"store": "lease-ended", "now": 5, "connected": False, "gateway": True})
    assert board.studies == () and board.store == "lease-ended" and not board.revoked


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        ({"PatientName": "H**^G**=洪^*洞=홍^*동"}, "홍*동"),
        ({"PatientName": "O**^A**"}, "O** A**"),
        ({"PatientName": "M**"}, "M**"),
        ({"PatientNamePhonetic": "남*^*수"}, "남**수"),
        ({"PatientName": "H**^", "PatientNameIdeographic": "^="}, "H**"),
        ({"PatientName": "^=^="}, ""),
        ({}, ""),
    ],
)
def test_no_delimiter_of_a_name_is_on_the_screen(groups: dict[str, str], shown: str) -> None:
    assert shown_name(groups) == shown
