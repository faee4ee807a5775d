"""Prometheus asked: one number, or a reason why there is none. A real server's answers are in tests/e2e."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from math import isnan
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.rollout.evidence import Answers
from proxy.rollout.prometheus import LONGEST, NoAnswerError, Prometheus, read_answer

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def said(kind: str, result: Any) -> bytes:
    return json.dumps({"status": "success", "data": {"resultType": kind, "result": result}}).encode()


ONE = {"metric": {}, "value": [1.7e9, "0.25"]}


@pytest.mark.parametrize(("body", "value"), [(said("vector", [ONE]), 0.25), (said("scalar", [1.7e9, "7"]), 7.0)])
def test_one_number_is_read(body: bytes, value: float) -> None:
    assert read_answer(body) == value


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (said("vector", []), "empty"),
        (said("vector", [ONE, ONE]), "many"),
        (said("matrix", []), "many"),
        (said("vector", [{"metric": {}, "value": [1.7e9, "NaN"]}]), "not_a_number"),
        (said("scalar", [1.7e9, "+Inf"]), "not_a_number"),
        (b'{"status": "error", "errorType": "bad_data", "error": "parse error: unexpected end"}', "refused"),
        (b"<html>", "unreadable"),
        (b"[]", "unreadable"),
        (b'{"status": "success"}', "unreadable"),
        (said("vector", [{"metric": {}}]), "unreadable"),
    ],
)
def test_anything_else_is_no_number(body: bytes, kind: str) -> None:
    with pytest.raises(NoAnswerError) as failure:
        read_answer(body)
    assert failure.value.kind == kind


def asked(handler: Handler | None, *, timeout: float = 5.0) -> Answers:
    async def run() -> Answers:
        application = web.Application()
        if handler is not None:
            application.router.add_post("/api/v1/query", handler)
        server = TestServer(application)
        await server.start_server()
        url = str(server.make_url("/"))
        if handler is None:
            await server.close()
        prometheus = Prometheus(timeout)
        try:
            return await prometheus.ask_all({"cpu": ("avg(x)", url)})
        finally:
            await prometheus.close()
            await server.close()

    return asyncio.run(run())


def test_the_query_is_asked_as_it_stands() -> None:
    async def answer(request: web.Request) -> web.Response:
        form = await request.post()
        return web.Response(body=said("scalar", [1.7e9, "3" if form["query"] == "avg(x)" else "0"]))

    found = asked(answer)
    assert (found.values, found.problems) == ({"cpu": 3.0}, {})


async def slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(30)
    return web.Response()


async def broken(_request: web.Request) -> web.Response:
    return web.Response(status=502, text="bad gateway")


async def refusing(_request: web.Request) -> web.Response:
    return web.json_response({"status": "error", "error": "parse error"}, status=400)


async def endless(_request: web.Request) -> web.Response:
    return web.Response(body=b"{" + b" " * LONGEST)


@pytest.mark.parametrize(
    ("handler", "kind", "words"),
    [
        (None, "unreachable", "cannot be asked"),
        (slow, "timeout", "has not answered in 0.2 s"),
        (broken, "refused", "answers 502"),
        (refusing, "refused", "parse error"),
        (endless, "many", "longer than"),
    ],
)
def test_a_server_that_does_not_answer_gives_no_number(handler: Handler | None, kind: str, words: str) -> None:
    found = asked(handler, timeout=0.2 if handler is slow else 5.0)
    assert isnan(found.values["cpu"])
    assert found.kinds == {"cpu": kind}
    assert words in found.problems["cpu"]
