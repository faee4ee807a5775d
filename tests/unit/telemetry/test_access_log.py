import json

import pytest

from proxy.telemetry.access_log import format_line, json_string


def line(**parts):
    return format_line(
        **(
            {
                "wall": 1_700_000_000.4567, "route": "shop", "assigned": "canary", "served": "stable",
                "reason": "split", "unit_hash": "ab12", "client": "192.0.2.1", "method": b"GET",
                "host": b"shop.example.com", "path": b"/cart", "status": 200, "flags": "FB", "duration": 0.0123456,
                "upstream_duration": 0.01, "request_bytes": 1, "response_bytes": 2, "request_id": b"r-1", "trace_id": b"0af7",
            }
            | parts
        )
    )  # fmt: skip


def test_a_line_says_everything_in_json():
    text = line()
    assert text.endswith(b"}\n")
    assert text.count(b"\n") == 1
    assert json.loads(text) == {
        "time": "2023-11-14T22:13:20.456Z", "route": "shop", "assigned": "canary", "served": "stable",
        "reason": "split", "unit_hash": "ab12", "client": "192.0.2.1", "method": "GET", "host": "shop.example.com",
        "path": "/cart", "status": 200, "flag": "FB", "duration_ms": 12.346, "upstream_ms": 10.0, "request_bytes": 1,
        "response_bytes": 2, "request_id": "r-1", "trace_id": "0af7", "marked": "", "cache": "",
    }  # fmt: skip


def test_no_upstream_is_null_and_the_query_stays_out():
    value = json.loads(line(upstream_duration=-1.0, path=b"/a?password=x"))
    assert value["upstream_ms"] is None
    assert value["path"] == "/a"


def test_the_stamp_follows_the_second():
    stamps = [json.loads(line(wall=wall))["time"] for wall in (0.0, 0.999, 1.0, 951782400.0)]
    assert stamps == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T00:00:00.999Z", "1970-01-01T00:00:01.000Z", "2000-02-29T00:00:00.000Z",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"plain ~!", "plain ~!"),
        (b'a"b\\c', 'a"b\\c'),
        (b"a\nb\x00\x7f", "a\nb\x00\x7f"),
        ("ø€😀".encode(), "ø€😀"),
        (b"\xff\xfe/x", "\\xff\\xfe/x"),
        (b"</script>", "</script>"),
    ],
)
def test_any_bytes_become_a_json_string_in_ascii(value, text):
    out = json_string(value)
    assert out.isascii()
    assert b"\n" not in out
    assert json.loads(out) == text
