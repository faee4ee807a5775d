"""Everything the wire can get wrong, and the corner cases that are right, as rows. One file a subject; `rows` is the shape."""

from . import (
    answers_bodies,
    answers_heads,
    answers_interim,
    requests_bodies,
    requests_chunks,
    requests_connections,
    requests_fields,
    requests_forwarding,
    requests_framing,
    requests_hosts,
    requests_lines,
    requests_paths,
)
from .rows import Answer, Request, Upstream

REQUESTS: tuple[Request, ...] = (
    *requests_framing.REQUESTS,
    *requests_chunks.REQUESTS,
    *requests_bodies.REQUESTS,
    *requests_fields.REQUESTS,
    *requests_lines.REQUESTS,
    *requests_hosts.REQUESTS,
    *requests_paths.REQUESTS,
    *requests_connections.REQUESTS,
    *requests_forwarding.REQUESTS,
)
ANSWERS: tuple[Answer, ...] = (*answers_heads.ANSWERS, *answers_bodies.ANSWERS, *answers_interim.ANSWERS)

__all__ = ["ANSWERS", "REQUESTS", "Answer", "Request", "Upstream"]
