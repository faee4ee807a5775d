"""Weights by hand are filled up to a whole split on the file's own scale."""

import pytest

from proxy.rollout.by_hand import BadWeightsError, fill_up

FILE = {"stable": 95.0, "canary": 5.0}
THREE = {"stable": 90.0, "canary": 6.0, "third": 4.0}


@pytest.mark.parametrize(("given", "file", "whole"), [
    ({"canary": 20.0}, FILE, {"stable": 80.0, "canary": 20.0}),
    ({"canary": 100.0}, FILE, {"stable": 0.0, "canary": 100.0}),
    ({"canary": 0.0}, FILE, {"stable": 100.0, "canary": 0.0}),
    ({"canary": 1.0}, {"stable": 3.0, "canary": 1.0}, {"stable": 3.0, "canary": 1.0}),
    ({"stable": 50.0}, THREE, {"stable": 50.0, "canary": 30.0, "third": 20.0}),
    ({"canary": 1.0, "stable": 1.0}, FILE, {"stable": 1.0, "canary": 1.0}),
    ({"stable": 40.0}, {"stable": 100.0, "canary": 0.0}, {"stable": 40.0, "canary": 60.0}),
    ({"canary": 40.0}, {"stable": 0.0, "canary": 100.0, "third": 0.0}, {"stable": 60.0, "canary": 40.0, "third": 0.0}),
])  # fmt: skip
def test_versions_that_are_not_named_share_what_is_left(given, file, whole):
    assert fill_up(given, file, "stable") == whole


@pytest.mark.parametrize(("given", "file", "why"), [
    ({"cannary": 20.0}, FILE, "no version cannary; it has stable, canary"),
    ({}, FILE, "no weight is given"),
    ({"canary": 120.0}, FILE, "add up to 100, and these to 120"),
    ({"canary": 0.0, "stable": 0.0}, FILE, "all weights are 0"),
    ({"canary": 10.0}, {"stable": 0.0, "canary": 0.0}, "give those of all versions, stable, canary"),
])  # fmt: skip
def test_what_makes_no_split_is_refused_with_what_would_do(given, file, why):
    with pytest.raises(BadWeightsError, match=why):
        fill_up(given, file, "stable")
