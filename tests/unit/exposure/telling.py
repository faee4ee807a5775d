"""Messages as workers send them, in a line each."""

import itertools

from proxy.channel.exposures import RANDOMISED, ExposureBatch
from proxy.core.plan import SPLIT
from proxy.exposure.records import Records

WEIGHTS = '{"stable":95.0,"canary":5.0}'
NOW = 1_700_000_000.0


def unit_of(name):
    """Not the proxy's hash, but one like it."""
    return int.from_bytes(name.encode().ljust(8, b"\0")[:8], "big")


class Teller:
    """Makes messages; time goes on by a second with every record."""

    def __init__(self, now=NOW):
        self.now = now
        self.sequence = itertools.count(1)

    def message(self, *records, **parts):
        """Each record is (unit, version) or (unit, version, reason) or (unit, version, reason, rule)."""
        batch = ExposureBatch()
        for record in records:
            unit, version, reason, rule = (*record, *(SPLIT, "")[len(record) - 2 :])
            values = {
                "at": self.now, "unit": unit_of(unit) if isinstance(unit, str) else unit, "plan": 3, "epoch": 0, "bucket": 17,
                "route": "shop", "version": version, "rule": rule, "weights": WEIGHTS, "salt": "shop",
                "source": "header", "segment": "",
                "reason": reason, "flags": RANDOMISED if reason == SPLIT else 0, "request_id": b"0123456789abcdef" * 2, "raw": b"",
            } | parts  # fmt: skip
            self.now += 1.0
            batch.add(**values)
        return batch.payload(next(self.sequence))


def store(path, *messages, **parts):
    """The open store, with these messages in it."""
    records = Records(path, **parts)
    for message in messages:
        records.write([message], int(NOW * 1e6))
    return records
