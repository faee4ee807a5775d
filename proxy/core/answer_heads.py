"""Heads of answers that come again, byte for byte, as they do from an upstream that gives small answers: read once.

A head is remembered where each of its lines had been (field_lines.py): none whose values are not to be kept, and none that is
another one each time, such as a cookie or a tag of its own.
"""

from typing import Final

from proxy.core.field_lines import NEW
from proxy.core.http1 import parse_response
from proxy.core.remembered import Habit
from proxy.core.request import Response

_REMEMBERED: Final = 256
_LENGTH_LIMIT: Final = 1024
_habit: Final = Habit()
_heads: Final[dict[bytes, Response]] = {}


def held() -> int:
    """How many heads are remembered."""
    return len(_heads)


def forget() -> None:
    """Remember nothing, as at the start."""
    _heads.clear()
    _habit.forget()


def recall_response(block: bytes, request_method: bytes) -> Response:
    """What the head of an answer says, as `parse_response` reads it. Raises ProtocolError 502."""
    if request_method == b"HEAD":  # the same head means another thing there
        return parse_response(block, request_method)
    head = _heads.get(block)
    if head is not None:
        if not head.met:
            head.met = True
        return head
    head = parse_response(block, request_method)
    if not head.marks & NEW and head.status >= 200 and len(block) <= _LENGTH_LIMIT and _habit.pays(head):
        if len(_heads) >= _REMEMBERED:
            _heads.clear()
        _heads[block] = head
    return head
