"""Answers requests to the page where units choose a version for themselves (core/choice.py); no upstream hears of them.

A choice travels in the query (`POST ?version=canary`, nothing after the `=` to leave), so that there is no body to be read.
"""

from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from proxy.core.choice import choice_error, choice_page, same_origin
from proxy.core.cookies import Kept, set_cookie_line
from proxy.core.gcra import seconds_up
from proxy.core.plan import Version
from proxy.dataplane.passage import Passage
from proxy.dataplane.rates import charge
from proxy.errors import DPE
from proxy.telemetry.counters import (
    CHOICE_CHOSEN,
    CHOICE_LEFT,
    CHOICE_LIMITED,
    CHOICE_REFUSED,
    CHOICE_SHOWN,
    CHOICE_UNCHANGED,
    V_CHOICES,
)

_DELETED: Final = -1


def answer_choice(passage: Passage) -> None:
    """Show what there is to choose, or take a choice; counted at the version chosen or left, else at the one assigned.

    `chosen` less `left` are the units that have a version by their own choice: whoever chooses another leaves the one before.
    """
    request = passage.request
    choice = passage.route.choice
    if choice is None:
        return
    if 0 <= passage.route.max_body < request.content_length:
        _count(passage, CHOICE_REFUSED, passage.version)
        passage.refuse(DPE, 413, "the body is larger than this route takes")
        return
    wait = charge(passage, choice.limit)
    if wait > 0:
        head, body = choice_error("too many requests to this page")
        _count(passage, CHOICE_LIMITED, passage.version)
        _answer(passage, 429, head + b"retry-after: %d\r\n" % seconds_up(wait), body)
    elif not choice.allows(request):
        _refuse(passage, 403, "this is not for you to choose")
    elif request.method in (b"GET", b"HEAD"):
        chosen = request.chosen
        _show(passage, b"" if chosen is None or choice.index_of(chosen) < 0 else chosen.version)
    elif request.method != b"POST":
        _refuse(passage, 405, "GET shows what there is to choose, POST chooses", b"allow: GET, HEAD, POST\r\n")
    elif not same_origin(request):
        _refuse(passage, 403, "a choice is made on this site's own page")
    else:
        _choose(passage)


def _choose(passage: Passage) -> None:
    request = passage.request
    route = passage.route
    choice = route.choice
    name = request.arguments().get(b"version")
    if choice is None or name is None:
        _refuse(passage, 400, "which version? ?version=NAME, or ?version= to leave")
        return
    cookies = passage.runtime.cookies
    secure = passage.secure
    had = -1 if request.chosen is None else choice.index_of(request.chosen)
    if not name:
        passage.added += set_cookie_line(choice.cookie, b"", secure, _DELETED)
        index = -1
    else:
        index = choice.indexes.get(name, -1)
        if index < 0 or not passage.may_have(route.versions[index]) or not cookies.enabled:
            _refuse(passage, 404, "this version is not to be had")
            return
        kept = Kept(name, 0, int(passage.runtime.wall()))
        passage.added += set_cookie_line(choice.cookie, cookies.keep(choice.scope, passage.unit or b"", kept), secure)
    if index == had:
        _count(passage, CHOICE_UNCHANGED, passage.version if index < 0 else route.versions[index])
    else:
        if had >= 0:
            _count(passage, CHOICE_LEFT, route.versions[had])
        if index >= 0:
            _count(passage, CHOICE_CHOSEN, route.versions[index])
    _answer(passage, 303, b"location: " + request.raw_path + b"\r\ncache-control: no-store\r\n", b"")


def _show(passage: Passage, chosen: bytes) -> None:
    route = passage.route
    choice = route.choice
    if choice is None:
        return
    names = [name for name in choice.names if passage.may_have(route.by_name[name])]
    html = b"text/html" in passage.request.fields.get(b"accept", b"")
    head, body = choice_page(route.name, names, chosen.decode(), passage.version.name, html)
    _count(passage, CHOICE_SHOWN, passage.version)
    _answer(passage, 200, head, body)


def _refuse(passage: Passage, status: int, said: str, more: bytes = b"") -> None:
    head, body = choice_error(said)
    _count(passage, CHOICE_REFUSED, passage.version)
    _answer(passage, status, head + more, body)


def _count(passage: Passage, outcome: int, version: Version) -> None:
    passage.runtime.view[version.slot + V_CHOICES + outcome] += 1


def _answer(passage: Passage, status: int, lines: bytes, body: bytes) -> None:
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ndate: {formatdate(passage.runtime.wall(), usegmt=True)}\r\n"
    )
    lines = head.encode() + lines + b"content-length: %d\r\n" % len(body)
    passage.answer(status, lines, b"" if passage.request.method == b"HEAD" else body, -1, None, False)
