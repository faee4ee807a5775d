import pytest

from proxy.core.admission import Admission, AdmissionPolicy

NOW = 1000.0


def admission(**parts: float) -> Admission:
    spec = {"success_percent": 95.0, "aggression": 1.0, "window": 30.0, "maximum_percent": 80.0, "minimum_rate": 5.0}
    return Admission(AdmissionPolicy(spec | parts))


def seen(good: int, bad: int, **parts: float) -> Admission:
    made = admission(**parts)
    for number in range(good + bad):
        made.count(number < good, NOW)
    return made


@pytest.mark.parametrize(
    ("good", "bad", "parts", "share"),
    [
        (0, 0, {}, 0.0),
        (1000, 0, {}, 0.0),
        (950, 50, {}, 0.0),  # just good enough
        (900, 100, {}, (1000 - 900 / 0.95) / 1001),
        (500, 500, {}, (1000 - 500 / 0.95) / 1001),
        (500, 500, {"aggression": 2.0}, ((1000 - 500 / 0.95) / 1001) ** 0.5),
        (0, 1000, {}, 0.8),  # never all: who is left finds out when it is well again
        (0, 1000, {"maximum_percent": 100.0}, 1000 / 1001),
        (0, 149, {}, 0.0),  # 149 in 30 seconds are less than 5 a second
        (0, 150, {"maximum_percent": 100.0}, 150 / 151),
    ],
)
def test_share_refused(good: int, bad: int, parts: dict[str, float], share: float):
    assert seen(good, bad, **parts).refused_share(NOW) == pytest.approx(share)


def test_rate_is_that_of_all_workers():
    assert seen(0, 75).refused_share(NOW) == 0.0
    assert seen(0, 75).refused_share(NOW, workers=2) > 0.5


def test_window_forgets_by_tenths():
    made = admission(maximum_percent=100.0, minimum_rate=0.0)
    for tenth in range(10):
        for _ in range(10):
            made.count(tenth >= 5, NOW + 3 * tenth)
    shares = [made.refused_share(NOW + 3 * tenth) for tenth in range(10, 20)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx((90 - 50 / 0.95) / 91)  # the first tenth is gone
    assert shares[5:] == [0.0] * 5


def test_long_silence_forgets_everything():
    made = seen(0, 1000)
    assert made.refused_share(NOW + 26) == 0.8
    assert made.refused_share(NOW + 1000) == 0.0
    assert (made.requests, made.good) == (0, 0)
    made.count(True, NOW + 2000)
    assert (made.requests, made.good) == (1, 1)


def test_another_window_begins_anew():
    made = seen(0, 1000)
    made.policy = AdmissionPolicy(
        {"success_percent": 95.0, "aggression": 1.0, "window": 300.0, "maximum_percent": 80.0, "minimum_rate": 5.0}
    )
    assert made.refused_share(NOW) == 0.0
    assert made.requests == 0
