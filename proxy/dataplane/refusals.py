"""Answers to requests that never got as far as a route: counted, logged and worded in one place.

They have route and version `none`.
"""

from proxy.core.plan import NONE
from proxy.core.request import Request
from proxy.core.trace import valid_request_id
from proxy.dataplane.answers import failure_answer
from proxy.dataplane.runtime import Runtime
from proxy.errors import Flag
from proxy.telemetry.access_log import format_line
from proxy.telemetry.counters import V_FLAGS


def count_refusal(runtime: Runtime, status: int, flag: Flag) -> None:
    """Count one, also where nothing is answered."""
    plan = runtime.plan
    if plan is not None:
        runtime.view[plan.none_codes + status] += 1
        if flag.error:
            runtime.view[plan.none_slot + V_FLAGS + flag.index] += 1


def refuse(
    runtime: Runtime, request: Request | None, peer: str, status: int, flag: Flag, detail: str, added: bytes
) -> bytes:
    """Count and log a refusal; returns the whole answer. `request` is None where not even the head could be read."""
    count_refusal(runtime, status, flag)
    request_id = b"" if request is None else request.fields.get(b"x-request-id", b"")
    if not valid_request_id(request_id):
        request_id = b"%032x" % runtime.rng.getrandbits(128)
    plan = runtime.plan
    if plan is not None and plan.access_log:
        runtime.access(_line(runtime, request, peer, status, flag, request_id))
    accept = b"" if request is None else request.fields.get(b"accept", b"")
    head_only = request is not None and request.method == b"HEAD"
    return failure_answer(status, flag, detail, request_id, accept, head_only, added, runtime.wall())


def _line(runtime: Runtime, request: Request | None, peer: str, status: int, flag: Flag, request_id: bytes) -> bytes:
    return format_line(
        wall=runtime.wall(),
        route=NONE,
        assigned=NONE,
        served=NONE,
        reason="",
        unit_hash="",
        client=peer if request is None else request.client,
        method=b"" if request is None else request.method,
        host=b"" if request is None else request.host,
        path=b"" if request is None else request.path,
        status=status,
        flags=flag.code,
        duration=0.0,
        upstream_duration=-1.0,
        request_bytes=0,
        response_bytes=0,
        request_id=request_id,
        trace_id=b"",
    )
