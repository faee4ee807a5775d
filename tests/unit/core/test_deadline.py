"""The time for a whole exchange: reading what a peer asks, and writing what is left."""

from math import inf

import pytest

from proxy.core.deadline import MALFORMED, DeadlinePolicy, parse_duration, time_allowed


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"2", 2.0), (b"2.5", 2.5), (b"2s", 2.0), (b"2500ms", 2.5), (b".5s", 0.5), (b"1.", 1.0), (b"0", 0.0),
        (b"0ms", 0.0), (b"-1", 0.0), (b"-250ms", 0.0), (b"0.25ms", 0.00025), (b"999999999999", 999999999999.0),
    ],
)  # fmt: skip
def test_durations_are_read(value, seconds):
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    [b"", b"soon", b"2 s", b"2m", b"1e3", b"+2", b"--2", b"2s, 3s", b"inf", b"nan", b".", b"0x10", b"9" * 40, b"2\n"],
)
def test_what_is_no_duration_is_malformed(value):
    assert parse_duration(value) == MALFORMED


def test_a_peer_lowers_the_time_and_never_raises_it():
    assert time_allowed(5.0, 2.0) == 2.0
    assert time_allowed(5.0, 7.0) == 5.0
    assert time_allowed(0.0, 7.0) == 7.0
    assert time_allowed(5.0, 0.0) == 0.0
    assert time_allowed(5.0, MALFORMED) == 5.0
    assert time_allowed(0.0, MALFORMED) == inf


def test_what_is_left_is_written_in_whole_milliseconds_and_never_as_nothing():
    policy = DeadlinePolicy({"header": "X-Request-Timeout"})
    assert policy.line(1.2349) == b"x-request-timeout: 1234ms\r\n"
    assert policy.line(0.0002) == b"x-request-timeout: 1ms\r\n"
    assert policy.line(-1.0) == b"x-request-timeout: 1ms\r\n"
    assert parse_duration(policy.line(3.0).split(b": ")[1].strip()) == 3.0


def test_the_field_is_dropped_however_it_is_spelt():
    assert DeadlinePolicy({"header": "X-Request-Timeout"}).dropped == {b"x-request-timeout", b"x_request_timeout"}
