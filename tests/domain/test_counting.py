"""Durations are counted in buckets, from which percentiles are right to within 5 %."""

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.domain.counting import bucket, quantile


@example([1.59375], 0.5)
@given(st.lists(st.floats(0.2, 1e6), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_a_percentile_is_right_to_within_five_percent(took: list[float], share: float) -> None:
    at_most = sorted(took)[max(0, -int(-share * len(took) // 1) - 1)]
    rounded = 0.0501  # seconds: it is shown in tenths
    found = quantile(Counter(map(bucket, took)), share)
    assert found == pytest.approx(at_most, abs=0.05 * at_most + rounded)


def test_of_nothing_there_is_no_percentile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0, 4: -1}, 0.5) is None
    assert quantile({bucket(0): 1}, 0.5) == pytest.approx(0.1, abs=0.01)
