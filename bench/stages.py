"""The stages of a request's way, as they are counted: with which functions each begins.

Names are those of the sources, `module:Class.method`; `bench.callgrind` finds what mypyc made of them.
"""

from typing import Final

REST: Final = "the rest: the bench's loop, which plays the sockets"
_READ: Final = "read the request's head"
_DECIDE: Final = "find the route, decide"
_GATES: Final = "limits, retries, hedges, breaker, health: where they are configured"
_ASK: Final = "ids, and the head for the upstream"
_CONNECT: Final = "find a connection"
_COPY: Final = "copies for shadows: where a route has them"
_ANSWER: Final = "read the answer's head"
_REPLY: Final = "the head for the client"
_BODY: Final = "pass the body on"
_COUNT: Final = "count and write down"
_KEEP: Final = "connections, deadlines, the request's objects"

STAGES: Final = (_READ, _DECIDE, _GATES, _ASK, _CONNECT, _COPY, _ANSWER, _REPLY, _BODY, _COUNT, _KEEP, REST)
"""In the order of the way."""

ENTRIES: Final = {
    "http1:parse_request": _READ,
    "departure:Departure.begin": _DECIDE,
    "routing:RouteTable.find": _DECIDE,
    "address:resolve_client": _DECIDE,
    "departure:Departure.set_off": _DECIDE,
    "departure:Departure.advance": _GATES,
    "tries:*": _GATES,
    "breaking:*": _GATES,
    "hedge:*": _GATES,
    "concurrency:*": _GATES,
    "attempt:Attempt._report_answer": _GATES,
    "attempt:Attempt._try_ended": _GATES,
    "departure:Departure._take_ids": _ASK,
    "departure:Departure.leave": _ASK,
    "departure:Departure._head_of": _ASK,
    "attempt:Attempt._try_version": _CONNECT,
    "departure:Departure.on_connected": _CONNECT,
    "mirror:*": _COPY,
    "answer_heads:recall_response": _ANSWER,
    "exchange:Exchange.on_head": _REPLY,
    "exchange:Exchange.on_body": _BODY,
    "exchange:Exchange.let_go": _BODY,
    "upstream:UpstreamConnection._length": _BODY,
    "client:ClientConnection._body": _BODY,
    "departure:Departure.body": _BODY,
    "departure:Departure.last_body": _BODY,
    "exchange:Exchange._settle": _COUNT,
    "record:Record._count": _COUNT,
    "client:*": _KEEP,
    "upstream:*": _KEEP,
    "request:Request_clear": _KEEP,
    "request:Response_clear": _KEEP,
    "exchange:Exchange": _KEEP,
    "exchange:Exchange_clear": _KEEP,
    "exchange:Exchange._finish": _KEEP,
    "pool:Pool.release": _KEEP,
    "timers:*": _KEEP,
}
"""Which stage begins with a function: it holds for all that is called from there, until another entry is called."""

TURNS: Final = {
    ("client:ClientConnection._take", "http1:cut_head"): _READ,
    ("upstream:UpstreamConnection._head", "http1:cut_head"): _ANSWER,
}
"""The stage of one call, where the same function serves two."""
