"""When the answer to a search leaves."""

import pytest

from gateway.delivery.seeking import until_beat


@pytest.mark.parametrize(
    ("took_s", "leaves_s"), [(0.0, 0.0), (0.05, 0.5), (0.25, 0.5), (0.49, 0.5), (0.51, 1.0), (3.2, 3.5)]
)
def test_answers_leave_on_a_beat_whatever_a_pacs_took(took_s: float, leaves_s: float) -> None:
    assert took_s + until_beat(took_s) == pytest.approx(leaves_s)
