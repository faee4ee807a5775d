"""The supply of trace ids: distinct, whole, and never the id of zeros that is none."""

from random import Random

from proxy.core.trace import lines_of, valid_traceparent
from proxy.dataplane.ids import TraceIds


class Zeros(Random):
    """Random numbers that start with nothing but zeros."""

    asked = 0

    def randbytes(self, n: int) -> bytes:
        self.asked += 1
        return bytes(n) if self.asked < 3 else super().randbytes(n)


def made(digits: bytes) -> bytes:
    """The traceparent with these digits."""
    return lines_of(digits, with_request_id=False).removeprefix(b"traceparent: ").rstrip()


def test_ids_are_distinct_and_valid_over_several_fillings() -> None:
    ids = TraceIds(Random(1))
    taken = [ids.take() for _ in range(1000)]
    assert all(len(digits) == 48 and valid_traceparent(made(digits)) for digits in taken)
    assert len({digits[:32] for digits in taken}) == len({digits[32:] for digits in taken}) == 1000


def test_an_id_of_zeros_is_never_given() -> None:
    rng = Zeros(1)
    assert valid_traceparent(made(TraceIds(rng).take()))
    assert rng.asked == 3
