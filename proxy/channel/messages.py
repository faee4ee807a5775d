"""The kinds of message and what each carries. Control to worker first, worker to control below."""

from typing import Final

VERSION: Final = 6
"""Of this vocabulary. A control process that takes over a worker with another one replaces it instead."""

# Control to worker.
PART: Final = 1
"""{"kind": "upstream" | "segment" | "route", "digest": str, "spec": {...}}: a part of the plan to come, sent once per digest."""
PLAN: Final = 2
"""{"generation": int, "spec": {...without the parts...}, "upstreams": [digest], "segments": [digest], "routes": [digest],
"lists": [name], "expressions": [{"cel": text, "reads": {name: [entry] | null}}]}: swap to this plan.
Parts named here were sent before, with this plan or an earlier one still in force."""
ENDPOINTS: Final = 3
"""{"upstream": str, "endpoints": [...]}: a name resolved to other addresses. Shapes as in an upstream's spec."""
DRAIN: Final = 4
"""{"limit": seconds}: accept until nothing waits, close the listeners, finish what is in flight, say DRAINED, exit."""
LEDGER: Final = 5
"""Opaque bytes: the ledger of counters, kept by the worker for a control process that takes over."""
HEALTH: Final = 6
"""{"upstream": str, "unhealthy": [key], "drained": [key]}: which of an upstream's endpoints fail their checks and which are
drained; all others do and are not. Keys as in core/plan.Endpoint. May name endpoints and upstreams that only the next plan has:
sent before any plan that follows, so that a new worker knows before its first request."""
SHARE: Final = 7
"""{"workers": int, "living": [int]}: limits are divided among so many workers, and these are the numbers of those that run,
the receiver's and those of leaving ones included: what they have under way counts."""
FAULTS: Final = 8
"""{"killed": bool}: whether faults are switched off, whatever the plan says. Sent on change, and where HELLO said otherwise; before
any plan that follows."""
STORED: Final = 9
"""{"sequence": int}: the exposures up to this message are stored; the worker need not keep them any more."""
FORGET: Final = 10
"""{"unit": str}: the unit of this hash (16 hex digits) was erased from the exposures; if it comes again, it is new."""
UNITS: Final = 11
"""{"pid": int, "lists": [{"name": str, "descriptor": int, "inode": int, "size": bytes}]}: all lists of units that plans may
name, each a memory that the process `pid` has open under this descriptor (core/unit_table). Sent on change, and before any
plan that follows."""
KEYS: Final = 12
"""{"source": str, "keys": [JWK]}: the keys of tokens that come from there, public members only. Sent on change, and before any
plan that follows; a plan's `jwt` names the source whose keys count."""

# Worker to control.
HELLO: Final = 64
"""{"version": int, "pid": int, "worker": int, "generation": int, "compiled": bool, "ledger": base64,
"faults_killed": bool, "listeners": [address], "draining": seconds left or null}: the first frame on every channel. On a
channel made by taking over, the counters' descriptor and then the listeners' ride on it; a worker that drains has closed its
listeners and names none."""
READY: Final = 65
"""{"generation": int, "seconds": float}: this plan now serves."""
FAILED: Final = 66
"""{"generation": int, "error": str}: this plan could not be taken; the one before goes on."""
SETTLED: Final = 67
"""{"generation": int}: no exchange on a plan older than this is left."""
LOG: Final = 68
"""{"level": str, "message": str, ...fields}: a line for the log."""
ACCESS: Final = 69
"""Bytes: whole access log lines, each ended by LF."""
DRAINED: Final = 70
"""{"aborted": int}: nothing is left; the worker exits. `aborted` exchanges were cut off by the limit."""
EXPOSURES: Final = 71
"""Packed (channel/exposures.py): who got which version, and why. Sent again on a new channel until STORED answers it."""
LACKING: Final = 72
"""{"source": str}: a token named a key that is not among those that come from there: they may be old ones."""
EVIDENCE: Final = 73
"""Packed (channel/evidence.py): what the units of a route have had whose versions are compared. On a new channel all of it is
told again, for its reader knows nothing."""
