"""Movements and the stays that follow: whatever the order in which they come, and whatever was taken back."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.management.stays import NOWHERE, Place, Stay, place, stays
from gateway.middleware.movement import Change, Movement


def told(word: str) -> Movement:
    """``"admit@10 W3/2"``, ``"discharge@20"``."""
    head, _, where = word.partition(" ")
    change, _, at = head.partition("@")
    ward, _, bed = where.partition("/")
    return Movement(Change(change), "P", "", float(at), ward, bed)


def of(*words: str) -> list[Stay]:
    return stays([told(word) for word in words])


DAY = ("admit@10 W3/1", "transfer@20 ICU", "transfer@30 ICU/4", "discharge@40")


def test_a_day() -> None:
    assert of(*DAY) == [Stay("W3", "1", 10, 20), Stay("ICU", "", 20, 30), Stay("ICU", "4", 30, 40)]
    assert place(of(*DAY)) == NOWHERE
    assert place(of(*DAY[:3])) == Place("ICU", "4")


@pytest.mark.parametrize("order", list(itertools.permutations(DAY)))
def test_the_order_of_arrival_does_not_matter(order: tuple[str, ...]) -> None:
    assert of(*order) == of(*DAY)


@pytest.mark.parametrize(
    ("words", "where"),
    [
        ([], NOWHERE),
        (["discharge@10"], NOWHERE),
        (["transfer@10 W3"], Place("W3")),  # who listens since today hears of no admission
        (["admit@10 W3", "admit@20 W5"], Place("W5")),
        (["admit@10 W3", "discharge@20", "admit@30 W3"], Place("W3")),
        (["admit@10 W3/1", "update@20 W3/2"], Place("W3", "2")),
        (["admit@10 W3/1", "update@20 W3"], Place("W3", "1")),
        (["admit@10 W3/1", "update@20 W5/9"], Place("W3", "1")),  # an update is no transfer
        (["admit@10 W3/1", "discharge@20", "update@30 W3/1"], NOWHERE),  # nor an admission
        (["admit@10 W3", "cancel-admit@20"], NOWHERE),
        (["admit@10 W3", "transfer@20 W5", "cancel-transfer@30"], Place("W3")),
        (["admit@10 W3", "transfer@20 W5", "transfer@25 W7", "cancel-transfer@30"], Place("W5")),
        (["admit@10 W3", "discharge@20", "cancel-discharge@30"], Place("W3")),
        (["admit@10 W3", "cancel-discharge@30"], Place("W3")),
        (["admit@10 W3", "cancel-admit@20", "admit@30 W5"], Place("W5")),
        (["cancel-admit@20", "admit@10 W3"], NOWHERE),  # the cancellation came first
    ],
)
def test_where_somebody_is(words: list[str], where: Place) -> None:
    assert place(of(*words)) == where


def test_what_was_taken_back_leaves_no_trace_in_the_history() -> None:
    assert of("admit@10 W3", "transfer@20 W5", "cancel-transfer@30", "discharge@40") == [Stay("W3", "", 10, 40)]


_movements = st.lists(
    st.builds(
        lambda change, ward, bed: (change, ward, bed),
        st.sampled_from(list(Change)),
        st.sampled_from(["W3", "W5"]),
        st.sampled_from(["", "1"]),
    ),
    max_size=8,
)


@given(_movements, st.randoms(use_true_random=False))
def test_stays_are_in_order_and_apart_and_depend_on_nothing_else(
    made: list[tuple[Change, str, str]], chance: "object"
) -> None:
    movements = [Movement(change, "P", "", float(at), ward, bed) for at, (change, ward, bed) in enumerate(made)]
    found = stays(movements)
    shuffled = list(movements)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert stays(shuffled) == found
    for before, after in itertools.pairwise(found):
        assert before.ends is not None and before.begins < before.ends <= after.begins
