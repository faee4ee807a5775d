"""The early brake: what pulls it, and what must not."""

from math import comb, log

import pytest

from proxy.core.brake import ALPHA, TOLERATED, WORSE, Brake, Odds


def test_version_that_alone_has_errors_is_stopped_after_a_few():
    brake, odds = Brake(), Odds(0.05)
    pulled = [brake.add(odds, 1, 0) for _ in range(6)]
    assert pulled.index(True) in {4, 5}
    assert brake.pulled


def test_errors_of_all_versions_alike_pull_nothing():
    brake, odds = Brake(), Odds(0.05)
    for _ in range(1000):
        assert not brake.add(odds, 5, 95)
    assert brake.evidence() < -100.0


def test_twice_the_errors_are_not_its_business():
    brake, odds = Brake(), Odds(0.5)
    assert not any(brake.add(odds, 20, 10) for _ in range(200))


def test_order_within_and_between_calls_does_not_matter_to_the_evidence():
    odds = Odds(0.2)
    one, other = Brake(), Brake()
    one.add(odds, 3, 2)
    for version, others in ((1, 0), (0, 2), (2, 0)):
        other.add(odds, version, others)
    assert one.evidence() == pytest.approx(other.evidence())


def test_what_was_gathered_goes_on_over_a_change_of_the_share():
    brake = Brake()
    brake.add(Odds(0.05), 3, 0)
    brake.add(Odds(0.25), 3, 1)
    expected = [
        3 * Odds(0.05).version[at] + 3 * Odds(0.25).version[at] + Odds(0.25).others[at] for at in range(len(WORSE))
    ]
    assert brake.evidence() == pytest.approx(max(expected) - log(len(WORSE)))


def test_brake_stays_pulled_until_it_is_released():
    brake, odds = Brake(), Odds(0.05)
    brake.add(odds, 10, 0)
    assert brake.add(odds, 0, 100_000)
    brake.release()
    assert not brake.add(odds, 0, 0)
    assert brake.evidence() == -log(len(WORSE))


def test_counts_below_0_say_nothing():
    brake, odds = Brake(), Odds(0.05)
    brake.add(odds, -5, -7)
    brake.add(odds, -5, 0)
    assert brake.evidence() == -log(len(WORSE))


@pytest.mark.parametrize("share", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("ratio", [1.0, TOLERATED])
def test_false_alarms_are_as_rare_as_stated_counted_out(share, ratio):
    """All sequences of 40 errors at once: the chance of any alarm, by the state (errors of the version so far)."""
    odds, theta = Odds(share), ratio * share / (ratio * share + 1 - share)
    alive, alarmed = {0: 1.0}, 0.0
    for total in range(1, 41):
        following: dict[int, float] = {}
        for version, chance in alive.items():
            for more, weight in ((1, theta), (0, 1 - theta)):
                following[version + more] = following.get(version + more, 0.0) + chance * weight
        alive = {}
        for version, chance in following.items():
            brake = Brake()
            if brake.add(odds, version, total - version):
                alarmed += chance
            else:
                alive[version] = chance
    assert alarmed <= ALPHA


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_each_likelihood_ratio_is_1_on_average_at_the_tolerated_ratio_and_less_below(share):
    odds = Odds(share)
    for ratio, check in ((TOLERATED, pytest.approx(1.0)), (1.0, None)):
        theta = ratio * share / (ratio * share + 1 - share)
        for at in range(len(WORSE)):
            mean = sum(
                comb(8, k) * theta**k * (1 - theta) ** (8 - k)
                * 2.718281828459045 ** (k * odds.version[at] + (8 - k) * odds.others[at])
                for k in range(9)
            )  # fmt: skip
            assert mean == check if check is not None else mean < 1.0


def test_what_cannot_be_is_an_error():
    for share, tolerated in ((0.0, 3.0), (1.0, 3.0), (0.5, 0.0)):
        with pytest.raises(ValueError, match="share"):
            Odds(share, tolerated)
    with pytest.raises(ValueError, match="alpha"):
        Brake(0.0)
