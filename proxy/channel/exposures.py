"""Exposures on the channel: many records in one message, packed, for there may be tens of thousands a second.

A message is a head, records of one fixed size, a tail with what has no fixed size (request ids, raw units), and the words
that the records name by number: each once, however many records use it. All numbers are little endian.
"""

from struct import Struct
from typing import Final

_HEAD: Final = Struct("<QIIIH")  # sequence, records, bytes of the tail, bytes of the words, words
_RECORD: Final = Struct("<dQIIhHHHHHHHBBHH")
RECORD_SIZE: Final = _RECORD.size
_LENGTH: Final = Struct("<H")

ROBOT: Final = 1
"""Flag of a record: by its user agent no person."""
RANDOMISED: Final = 2
"""Flag of a record: the version was drawn by hash, by the weights that the record names."""

RAW_LIMIT: Final = 1024
"""Bytes of a raw unit that travel; the rest is cut off."""

Record = tuple[float, int, int, int, int, int, int, int, int, int, int, int, int, int, int, int]
"""Unix seconds, unit hash (64 bits), plan revision, salt epoch, bucket; numbers of the words for route, version, rule, weights,
salt, source and segment; reason (an index of REASONS), flags; bytes of the request id and of the raw unit in the tail."""


class ExposureBatch:
    """Records on their way into a message. At most 8,000: a record may bring seven words, and words are numbered in 16 bits."""

    def __init__(self) -> None:
        self.count: int = 0
        self._numbers: Final[dict[str, int]] = {}
        self._words: Final[list[bytes]] = []
        self._records: Final = bytearray()
        self._tail: Final = bytearray()

    def add(
        self,
        at: float,
        unit: int,
        plan: int,
        epoch: int,
        bucket: int,
        route: str,
        version: str,
        rule: str,
        weights: str,
        salt: str,
        source: str,
        segment: str,
        reason: int,
        flags: int,
        request_id: bytes,
        raw: bytes,
    ) -> None:
        """Append a record; `Record` says what each is."""
        raw = raw[:RAW_LIMIT]
        self._records.extend(
            _RECORD.pack(
                at,
                unit,
                plan,
                epoch,
                bucket,
                self._number(route),
                self._number(version),
                self._number(rule),
                self._number(weights),
                self._number(salt),
                self._number(source),
                self._number(segment),
                reason,
                flags,
                len(request_id),
                len(raw),
            )
        )
        self._tail.extend(request_id)
        self._tail.extend(raw)
        self.count += 1

    def _number(self, word: str) -> int:
        number = self._numbers.get(word, -1)
        if number < 0:
            number = len(self._words)
            self._numbers[word] = number
            text = word.encode("utf-8", "surrogateescape")[:65535]
            self._words.append(_LENGTH.pack(len(text)) + text)
        return number

    def payload(self, sequence: int) -> bytes:
        """The message."""
        words = b"".join(self._words)
        head = _HEAD.pack(sequence, self.count, len(self._tail), len(words), len(self._words))
        return b"".join((head, words, bytes(self._records), bytes(self._tail)))


def sequence_of(payload: bytes) -> int:
    """The number of a message, which its receiver says when it has it. Raises ValueError."""
    if len(payload) < _HEAD.size:
        raise ValueError("exposures: a message without a head")
    return int.from_bytes(payload[:8], "little")


def read_exposures(payload: bytes) -> tuple[list[str], list[Record], bytes]:
    """The words, the records, and the tail, in which each record's request id and raw unit follow those of the one before.

    Raises ValueError for what `ExposureBatch` does not make.
    """
    sequence_of(payload)
    _, count, tail, words_size, words_count = _HEAD.unpack_from(payload)
    start = _HEAD.size
    records_at = start + words_size
    tail_at = records_at + count * RECORD_SIZE
    if tail_at + tail != len(payload):
        raise ValueError("exposures: a message of another length than its head says")
    words: list[str] = []
    for _ in range(words_count):
        size = int.from_bytes(payload[start : start + 2], "little")
        words.append(payload[start + 2 : start + 2 + size].decode("utf-8", "surrogateescape"))
        start += 2 + size
    records: list[Record] = list(_RECORD.iter_unpack(payload[records_at:tail_at]))
    if start != records_at:
        raise ValueError("exposures: the words do not end where the records begin")
    for record in records:
        if max(record[5:12]) >= words_count:
            raise ValueError("exposures: a record names a word that there is not")
    return words, records, payload[tail_at:]
