"""The recent latency against the sorted samples."""

from math import ceil

from hypothesis import example, given
from hypothesis import strategies as st

from proxy.core.latency import WIDTH, Latency

SECONDS = st.floats(4e-5, 120.0)


def exact(samples: list[float], percentile: float) -> float:
    return sorted(samples)[max(ceil(percentile / 100 * len(samples)), 1) - 1]


@given(st.lists(SECONDS, min_size=1, max_size=200), st.sampled_from([1.0, 50.0, 90.0, 95.0, 99.9, 100.0]))
def test_value_is_the_percentile_to_a_bucket(samples: list[float], percentile: float) -> None:
    latency = Latency(percentile, 1)
    for one in samples:
        latency.add(one, 1000.0)
    true = exact(samples, percentile)
    assert true <= latency.value(1000.0) <= true * (1 + WIDTH) * (1 + 1e-9)


@example([(1.0, 0.0), (1.0, 11.0), (2.0, 0.0), (2.0, 9.0)])
@given(st.lists(st.tuples(SECONDS, st.floats(0, 12.0)), min_size=1, max_size=100))
def test_value_stands_on_the_last_one_to_two_half_windows(steps: list[tuple[float, float]]) -> None:
    latency = Latency(50.0, 1, half_window=10.0)
    now = 1000.0
    samples = []
    for seconds, pause in steps:
        now += pause
        latency.add(seconds, now)
        samples.append((now, seconds))
    found = latency.value(now)
    # What is younger than a half window counts, what is older than two does not; between the two it may.
    young = [seconds for when, seconds in samples if now - when < 10.0]
    between = [seconds for when, seconds in samples if 10.0 <= now - when < 20.0]
    lowest = exact(young + between, 50.0) if not between else min(young + between)
    highest = max(young + between)
    assert lowest <= found <= highest * (1 + WIDTH) * (1 + 1e-9)


def test_nothing_is_known_of_too_few() -> None:
    latency = Latency(95.0, 3)
    latency.add(1.0, 1000.0)
    latency.add(1.0, 1000.0)
    assert latency.value(1000.0) < 0
    latency.add(1.0, 1000.0)
    assert latency.value(1000.1) < 0  # an answer is good for a moment
    assert latency.value(1000.3) >= 1.0


def test_what_is_long_past_is_forgotten() -> None:
    latency = Latency(95.0, 1)
    latency.add(5.0, 1000.0)
    assert latency.value(1016.0) >= 5.0
    assert latency.value(1031.0) < 0
    latency.add(0.01, 1031.0)
    assert 0.01 <= latency.value(1031.5) < 0.011


def test_what_is_off_the_scale_counts_at_its_end() -> None:
    latency = Latency(100.0, 1)
    latency.add(0.0, 1000.0)
    assert 0 < latency.value(1000.0) < 1e-4
    latency.add(1e9, 1000.0)
    assert latency.value(1001.0) >= 128.0
