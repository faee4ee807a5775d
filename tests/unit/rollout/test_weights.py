"""The weights of a step: who gives, who takes, and who keeps what they have."""

import pytest

from proxy.rollout.weights import percent_of, step_weights

TWO = ("stable", "canary", None)
THREE = ("stable", "canary", "baseline")


@pytest.mark.parametrize(
    ("bound", "percent", "expected"),
    [
        ({"stable": 100.0, "canary": 0.0}, 5.0, {"stable": 95.0, "canary": 5.0}),
        ({"stable": 95.0, "canary": 5.0}, 1.0, {"stable": 99.0, "canary": 1.0}),
        ({"stable": 3.0, "canary": 1.0}, 50.0, {"stable": 2.0, "canary": 2.0}),
        ({"stable": 80.0, "canary": 0.0, "legacy": 20.0}, 25.0, {"stable": 60.0, "canary": 20.0, "legacy": 20.0}),
        ({"stable": 80.0, "canary": 0.0, "legacy": 20.0}, 100.0, {"stable": 0.0, "canary": 80.0, "legacy": 20.0}),
        ({"stable": 0.0, "canary": 0.0}, 10.0, {"stable": 90.0, "canary": 10.0}),
        ({"stable": 100.0, "canary": 0.0}, 0.0, {"stable": 100.0, "canary": 0.0}),
    ],
)
def test_one_gives_and_one_takes(bound: dict[str, float], percent: float, expected: dict[str, float]) -> None:
    weights = step_weights(bound, TWO, percent)
    assert weights == pytest.approx(expected)
    assert percent_of(weights, TWO) == pytest.approx(percent)


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(0, (100, 0, 0)), (5, (90, 5, 5)), (30, (40, 30, 30)), (50, (25, 50, 25)), (90, (5, 90, 5)), (100, (0, 100, 0))],
)
def test_the_baseline_gets_as_much_as_the_new_version_but_no_more_than_the_old_one_keeps(
    percent: float, expected: tuple[float, float, float]
) -> None:
    weights = step_weights({"stable": 100.0, "canary": 0.0, "baseline": 0.0}, THREE, percent)
    assert (weights["stable"], weights["canary"], weights["baseline"]) == pytest.approx(expected)


@pytest.mark.parametrize("percent", [-1.0, 100.1, float("nan")])
def test_what_is_no_percentage_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="percentage"):
        step_weights({"stable": 1.0, "canary": 0.0}, TWO, percent)


def test_without_any_weight_nobody_has_a_share() -> None:
    assert percent_of({"stable": 0.0, "canary": 0.0}, TWO) == 0.0
