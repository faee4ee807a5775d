"""A sieve never misses who is in it, and seldom mistakes a stranger for one."""

import random

import pytest

from proxy.exposure.sieve import Sieve, sieve_key


def test_nobody_in_it_is_missed_and_few_strangers_are_mistaken():
    rng = random.Random(1)
    sieve = Sieve()
    inside = [sieve_key(rng.getrandbits(64), 1) for _ in range(20_000)]
    for key in inside:
        sieve.add(key)
    assert all(sieve.may_have(key) for key in inside)
    strangers = sum(sieve.may_have(sieve_key(rng.getrandbits(64), 1)) for _ in range(20_000))
    assert strangers < 5


def test_the_same_unit_on_another_route_is_a_stranger():
    keys = {sieve_key(1234, route) for route in range(100)}
    assert len(keys) == 100
    assert len({mixed for mixed, _, _ in keys}) == 100


def test_a_sieve_is_kept_as_bytes():
    sieve = Sieve()
    key = sieve_key(99, 3)
    sieve.add(key)
    again = Sieve(sieve.packed())
    assert again.may_have(key)
    assert not again.may_have(sieve_key(100, 3))
    with pytest.raises(ValueError, match="size"):
        Sieve(b"short")
