"""Records on the channel arrive as they were packed, and nonsense is refused."""

import pytest

from proxy.channel.exposures import (
    RANDOMISED,
    RAW_LIMIT,
    ROBOT,
    ExposureBatch,
    read_exposures,
    sequence_of,
)


def packed(sequence=7, count=3, raw=b""):
    batch = ExposureBatch()
    for number in range(count):
        batch.add(
            1.7e9 + number, 2**64 - 1 - number, 12, 3, number - 1, "shop", f"v{number % 2}", "", '{"v0":1}', "salt", "header",
            "bé\udcffta", 9, RANDOMISED | ROBOT, b"r" * number, raw,
        )  # fmt: skip
    assert batch.count == count
    return batch.payload(sequence)


def test_what_was_packed_is_read():
    payload = packed(raw=b"alice")
    assert sequence_of(payload) == 7
    words, records, tail = read_exposures(payload)
    assert len(words) == 8  # each once
    assert tail == b"alice" + b"r" + b"alice" + b"rr" + b"alice"
    at, unit, plan, epoch, bucket, route, version, rule, weights, salt, source, segment, reason, flags, ids, raw = (
        records[1]
    )
    assert (at, unit, plan, epoch, bucket, reason, flags, ids, raw) == (1.7e9 + 1, 2**64 - 2, 12, 3, 0, 9, 3, 1, 5)
    named = [words[one] for one in (route, version, rule, weights, salt, source, segment)]
    assert named == ["shop", "v1", "", '{"v0":1}', "salt", "header", "bé\udcffta"]
    assert records[0][4] == -1


def test_a_long_raw_unit_is_cut():
    _, records, tail = read_exposures(packed(count=1, raw=b"x" * 5000))
    assert records[0][-1] == len(tail) == RAW_LIMIT


def test_nothing_in_it_is_a_message_too():
    assert read_exposures(packed(count=0)) == ([], [], b"")


@pytest.mark.parametrize("cut", [0, 5, 21, 30, -1])
def test_a_message_that_was_cut_is_refused(cut):
    with pytest.raises(ValueError, match="exposures"):
        read_exposures(packed()[:cut])


def test_a_record_that_names_no_word_is_refused():
    payload = bytearray(packed(count=1))
    at = payload.index(b"header") + len(b"header") + 2 + len("bé\udcffta".encode("utf-8", "surrogateescape"))
    payload[at + 26 : at + 28] = b"\xff\xff"
    with pytest.raises(ValueError, match="word"):
        read_exposures(bytes(payload))
