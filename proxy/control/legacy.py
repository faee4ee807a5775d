"""What a control process gives its workers to keep, for the one that comes after it should die."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from proxy.control.keys import Keys

_FORMAT: Final = 1


class LegacyError(Exception):
    """What a worker kept cannot be read."""


@dataclass(frozen=True, slots=True)
class Legacy:
    """`ledger` is the ledger's own dump, `restarts` how often each worker was started again, `cpu` the seconds that its
    earlier processes used, `listeners` the configured addresses of the sockets, in their order, `left` the numbers of the
    workers that drained and that nobody replaced, `faults_killed` what kill_switch.py packed."""

    generation: int
    ledger: bytes
    keys: Keys = field(default_factory=Keys)
    restarts: dict[int, int] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    listeners: list[str] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    faults_killed: dict[str, Any] | None = None

    def pack(self) -> bytes:
        """As bytes for messages.LEDGER."""
        return json.dumps(
            {
                "format": _FORMAT,
                "generation": self.generation,
                "ledger": self.ledger.decode(),
                "keys": asdict(self.keys),
                "restarts": self.restarts,
                "cpu": self.cpu,
                "listeners": self.listeners,
                "left": self.left,
                "faults_killed": self.faults_killed,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def unpack(cls, data: bytes) -> "Legacy":
        """What `pack` made. Raises LegacyError."""
        try:
            value = json.loads(data)
            if value["format"] != _FORMAT:
                raise LegacyError(f"written in format {value['format']}")
            return cls(
                int(value["generation"]),
                value["ledger"].encode(),
                Keys(**value["keys"]),
                {int(index): int(count) for index, count in value["restarts"].items()},
                {int(index): float(seconds) for index, seconds in value["cpu"].items()},
                [str(address) for address in value["listeners"]],
                [int(index) for index in value.get("left", [])],
                value.get("faults_killed"),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LegacyError(repr(error)) from error
