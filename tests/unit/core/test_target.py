"""Request targets, authorities and paths: one reading, or none."""

import pytest

from proxy.core.target import normalise_path, parse_authority, parse_target
from proxy.errors import ProtocolError


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/", (b"", b"/", b"/", b"", False, True)),
        (b"/a/b.js?c=/.&d=%zz", (b"", b"/a/b.js", b"/a/b.js", b"c=/.&d=%zz", True, True)),
        (b"/a?", (b"", b"/a", b"/a", b"", True, True)),
        (b"/a?b?c", (b"", b"/a", b"/a", b"b?c", True, True)),
        (b"//a//b", (b"", b"//a//b", b"//a//b", b"", False, True)),
        (b"/.well-known/x", (b"", b"/.well-known/x", b"/.well-known/x", b"", False, True)),
        (b"/%7Ea%2db", (b"", b"/~a-b", b"/%7Ea%2db", b"", False, True)),
        (b"/a/../b", (b"", b"/a/../b", b"/a/../b", b"", False, False)),
        (b'/a|b^"{}', (b"", b'/a|b^"{}', b'/a|b^"{}', b"", False, True)),
        (b"http://h", (b"h", b"/", b"/", b"", False, True)),
        (b"http://h/", (b"h", b"/", b"/", b"", False, True)),
        (b"HTTPS://H:1/a?b", (b"H:1", b"/a", b"/a", b"b", True, True)),
        (b"http://h?b", (b"h", b"/", b"/", b"b", True, True)),
        (b"http://h?b/c", (b"h", b"/", b"/", b"b/c", True, True)),
        (b"http://h/a/./b", (b"h", b"/a/./b", b"/a/./b", b"", False, False)),
    ],
)
def test_target_is_taken_apart(target: bytes, expected: tuple[object, ...]) -> None:
    assert parse_target(b"GET", target) == expected


def test_asterisk_is_for_options() -> None:
    star = (b"*", b"*", b"", False, True)
    assert parse_target(b"OPTIONS", b"*") == (b"", *star)
    assert parse_target(b"OPTIONS", b"http://h") == (b"h", *star)
    assert parse_target(b"OPTIONS", b"http://h/")[1] == b"/"
    assert parse_target(b"OPTIONS", b"http://h?a")[1] == b"/"
    with pytest.raises(ProtocolError):
        parse_target(b"GET", b"*")


@pytest.mark.parametrize(
    "target",
    [
        b"",
        b"a",
        b"a/b",
        b"?a",
        b"*a",
        b"h:80",
        b"h",
        b"ftp://h/",
        b"http:/h",
        b"http:h",
        b"http://",
        b"http:///a",
        b"http://?a",
        b"/a#b",
        b"/a?b#c",
        b"http://h/#a",
        b"/\x80",
        b"/a?\xff",
        b"/\t",
        b"/%",
        b"/%4",
        b"/%4g",
        b"/a%%20",
        b"http://h/%zz",
        b"javascript://h/",
        b"ws://h/",
    ],
)
def test_target_is_refused(target: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_target(b"GET", target)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("raw", "path", "clean"),
    [
        (b"/a%41%7a%30", b"/aAz0", True),
        (b"/%c3%A9%c3%a9", b"/%C3%A9%C3%A9", True),
        (b"/%3f%23%25", b"/%3F%23%25", True),
        (b"/%252e%252e", b"/%252e%252e", True),
        (b"/a%2fb", b"/a%2Fb", False),
        (b"/a%2Fb", b"/a%2Fb", False),
        (b"/a%5cb", b"/a%5Cb", False),
        (b"/a\\b", b"/a\\b", False),
        (b"/a%00", b"/a%00", False),
        (b"/.", b"/.", False),
        (b"/..", b"/..", False),
        (b"/a/./b", b"/a/./b", False),
        (b"/a/../b", b"/a/../b", False),
        (b"/a/%2e%2E/b", b"/a/../b", False),
        (b"/a/.%2e", b"/a/..", False),
        (b"/%2e", b"/.", False),
        (b"/a/..;x=1/b", b"/a/..;x=1/b", False),
        (b"/a/.;/b", b"/a/.;/b", False),
        (b"/a/...", b"/a/...", True),
        (b"/a/..b/.c", b"/a/..b/.c", True),
        (b"/a./b../c", b"/a./b../c", True),
    ],
)
def test_path_is_normalised(raw: bytes, path: bytes, clean: bool) -> None:
    assert normalise_path(raw) == (path, clean)


@pytest.mark.parametrize(
    ("authority", "host"),
    [
        (b"Example.COM", b"example.com"),
        (b"example.com:80", b"example.com"),
        (b"example.com:", b"example.com"),
        (b"example.com.", b"example.com."),
        (b"my_service-1", b"my_service-1"),
        (b"127.0.0.1:65535", b"127.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[2001:DB8::1]:8080", b"[2001:db8::1]"),
        (b"[::ffff:1.2.3.4]", b"[::ffff:1.2.3.4]"),
    ],
)
def test_host_of_an_authority(authority: bytes, host: bytes) -> None:
    assert parse_authority(authority) == host
    assert parse_authority(authority) == host  # remembered


@pytest.mark.parametrize(
    "authority",
    [
        b"",
        b":80",
        b"u@h",
        b"u:p@h",
        b"h:80:80",
        b"h:a",
        b"h:-1",
        b"h:+1",
        b"h:65536",
        b"h:000080",
        b"h h",
        b"h\th",
        b"h/",
        b"h?",
        b"h#",
        b"h\\",
        b"a,b",
        b"%61",
        b"h\xe9",
        b'"h"',
        b"<h>",
        b"[",
        b"[]",
        b"[::1",
        b"[::1]x",
        b"[::1]80",
        b"[::1]:x",
        b"::1",
        b"[1.2.3.4]",
        b"[v1.a]",
        b"[fe80::1%25eth0]",
        b"[::1]]",
        b"[:::1]",
        b"h]",
        b"a" * 300,
    ],
)
def test_authority_is_refused(authority: bytes) -> None:
    for _ in range(2):  # a refusal is not remembered as anything else
        with pytest.raises(ProtocolError) as caught:
            parse_authority(authority)
        assert caught.value.status == 400


def test_many_hosts_are_no_trouble() -> None:
    for number in range(3000):
        assert parse_authority(b"H%d:80" % number) == b"h%d" % number
