"""What the proxy says itself."""

import json

import h11
import pytest

from proxy.dataplane.answers import failure_answer
from proxy.errors import DPE, FLAGS, NR, UH, Flag


def said(flag: Flag = UH, *, accept: bytes = b"", head_only: bool = False, detail: str = "", status: int = 0) -> bytes:
    return failure_answer(
        status or flag.status or 503,
        flag,
        detail,
        b"id-1",
        accept,
        head_only,
        b"connection: close\r\n",
        1_700_000_000.0,
    )


def parts(data: bytes) -> tuple[h11.Response, bytes]:
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    response = reader.next_event()
    body = b""
    while isinstance(event := reader.next_event(), h11.Data):
        body += event.data
    assert isinstance(event, h11.EndOfMessage)
    return response, body


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("accept", [b"", b"text/html", b"application/json"])
def test_answer_is_whole_and_names_the_flag_and_the_request(flag: Flag, accept: bytes) -> None:
    response, body = parts(said(flag, accept=accept))
    assert response.status_code == (flag.status or 503)
    assert flag.code.encode() in body
    assert b"id-1" in body
    assert (b"x-request-id", b"id-1") in list(response.headers)
    assert (b"connection", b"close") in list(response.headers)
    assert (b"date", b"Tue, 14 Nov 2023 22:13:20 GMT") in list(response.headers)
    assert (b"cache-control", b"no-store") in list(response.headers)


@pytest.mark.parametrize(
    "accept", [b"application/json", b"text/html, Application/JSON;q=0.9", b"application/problem+json"]
)
def test_json_for_who_accepts_it(accept: bytes) -> None:
    response, body = parts(said(NR, accept=accept))
    assert (b"content-type", b"application/json") in list(response.headers)
    assert json.loads(body) == {"error": "no route", "status": 404, "flag": "NR", "request_id": "id-1"}


@pytest.mark.parametrize("accept", [b"", b"*/*", b"text/html"])
def test_text_for_everybody_else(accept: bytes) -> None:
    response, body = parts(said(NR, accept=accept))
    assert (b"content-type", b"text/plain; charset=utf-8") in list(response.headers)
    assert body == b"404 Not Found: no route (NR)\nrequest id: id-1\n"


def test_detail_stands_in_the_meanings_place() -> None:
    assert b"400 Bad Request: invalid method (DPE)\n" in said(DPE, detail="invalid method")


def test_head_alone_announces_the_same_length() -> None:
    whole, head = said(), said(head_only=True)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("status", [408, 413, 414, 417, 431, 499, 501, 502, 503, 504, 505])
def test_status_line_has_a_phrase(status: int) -> None:
    line = said(DPE, status=status).partition(b"\r\n")[0]
    assert len(line.split(b" ", 2)[2]) > 3
