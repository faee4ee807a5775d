"""Everything the wire can get wrong, and the corner cases that are right, as rows. One file a subject; `rows` is the shape."""

from .answers_bodies import ANSWERS as _answers_bodies
from .answers_heads import ANSWERS as _answers_heads
from .answers_interim import ANSWERS as _answers_interim
from .requests_bodies import REQUESTS as _bodies
from .requests_chunks import REQUESTS as _chunks
from .requests_connections import REQUESTS as _connections
from .requests_fields import REQUESTS as _fields
from .requests_forwarding import REQUESTS as _forwarding
from .requests_framing import REQUESTS as _framing
from .requests_hosts import REQUESTS as _hosts
from .requests_lines import REQUESTS as _lines
from .requests_paths import REQUESTS as _paths
from .rows import Answer, Request, Upstream

REQUESTS: tuple[Request, ...] = (
    *_framing, *_chunks, *_bodies, *_fields, *_lines, *_hosts, *_paths, *_connections, *_forwarding,
)  # fmt: skip
ANSWERS: tuple[Answer, ...] = (*_answers_heads, *_answers_bodies, *_answers_interim)

__all__ = ["ANSWERS", "REQUESTS", "Answer", "Request", "Upstream"]
