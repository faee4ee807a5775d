"""Evidence on the channel: of one route's units, sums since they were last told, and first events.

A message is a head in JSON, the units, and the first events, both packed. All numbers are little endian.
"""

import json
from struct import Struct
from typing import Any, Final

from proxy.core.evidence import FIRST

_SIZES: Final = Struct("<III")  # bytes of the head, units, bytes of the first events
Head = dict[str, Any]
"""{"route": str, "run": str, "stretch": int, "weights": {version: weight}, "versions": [str], "columns": [str], "level": int,
"again": bool, "first_versions": [str], "samples": [[Unix seconds, version, unit hash, request id, status, flag]],
"brake": {"version": str, "reason": str, "numbers": {...}} or None, ...}: of which stretch the units are, and what their sums are
of.
"called": {version: [unit hash]}, units with errors who were not dealt the version; "" is nobody.
They are those of a share of 2^-level of all, or more of a version with less weight. `again`: told before, to an earlier control."""
Unit = tuple[int, ...]
"""Unit hash (64 bits), number of the version among the head's `versions`, and the sums."""
First = tuple[int, float, int, int, int]
"""As core/evidence.FIRST says; the version is a number among the head's `first_versions`."""


def evidence_payload(head: Head, units: list[tuple[int, str, list[int]]], firsts: bytes) -> bytes:
    """The message. `units` are version, unit hash in hex, and sums, as many as the head has columns."""
    said = json.dumps(head, separators=(",", ":")).encode()
    record = _record(len(head["columns"]))
    body = bytearray(_SIZES.pack(len(said), len(units), len(firsts)))
    body.extend(said)
    for version, unit, sums in units:
        body.extend(record.pack(int(unit, 16), version, *sums))
    body.extend(firsts)
    return bytes(body)


def read_evidence(payload: bytes) -> tuple[Head, list[Unit], list[First]]:
    """Head, units and first events. Raises ValueError for what `evidence_payload` does not make."""
    if len(payload) < _SIZES.size:
        raise ValueError("evidence: a message without a head")
    head_size, count, firsts_size = _SIZES.unpack_from(payload)
    start = _SIZES.size + head_size
    if start > len(payload):
        raise ValueError("evidence: a head that is longer than the message")
    head: Head = json.loads(payload[_SIZES.size : start])
    try:
        columns, versions, said = len(head["columns"]), len(head["versions"]), len(head["first_versions"])
    except (KeyError, TypeError) as error:
        raise ValueError("evidence: a head that does not say what the sums are of") from error
    record = _record(columns)
    end = start + count * record.size
    if end + firsts_size != len(payload) or firsts_size % FIRST.size:
        raise ValueError("evidence: a message of another length than its head says")
    units: list[Unit] = list(record.iter_unpack(payload[start:end]))
    firsts: list[First] = list(FIRST.iter_unpack(payload[end:]))
    if any(one[1] >= versions for one in units) or any(one[3] >= said for one in firsts):
        raise ValueError("evidence: a version that the head does not name")
    return head, units, firsts


def _record(columns: int) -> Struct:
    return Struct(f"<QH{columns}Q")
