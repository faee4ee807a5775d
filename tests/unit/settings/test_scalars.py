"""Small values: the forms that are taken. The forms that are not are in mistakes/."""

import pytest

from proxy.settings.scalars import (
    format_duration,
    format_size,
    parse_address,
    parse_cidr,
    parse_duration,
    parse_host,
    parse_size,
    split_address,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("2s", 2), ("1.5s", 1.5), ("5m", 300), ("1h", 3600), ("0s", 0), ("0.5ms", 0.0005)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (90, "90s"), (120, "2m"), (7200, "2h"), (0.25, "250ms"), (1.5, "1.5s")]
)
def test_durations_are_written_short(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "size"), [("0B", 0), ("512B", 512), ("64KiB", 65536), ("1.5MiB", 1572864), ("2GiB", 2147483648)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (1000, "1000B"), (1024, "1KiB"), (1 << 20, "1MiB"), (1 << 30, "1GiB")]
)
def test_sizes_are_written_short(size: int, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "kind", "loopback"),
    [
        ("0.0.0.0:80", "tcp", False),
        ("[::]:80", "tcp", False),
        ("[::1]:80", "tcp", True),
        ("127.0.0.9:0", "tcp", True),
        ("localhost:80", "tcp", True),
        ("unix:/run/x.sock", "unix", True),
        ("fd:3", "fd", True),
    ],
)
def test_addresses(text: str, kind: str, loopback: bool) -> None:
    assert parse_address(text) == text
    assert (split_address(text).kind, split_address(text).loopback) == (kind, loopback)


@pytest.mark.parametrize(
    ("text", "network"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128"), ("FD00::/8", "fd00::/8"), ("192.0.2.1", "192.0.2.1/32")],
)
def test_networks(text: str, network: str) -> None:
    assert parse_cidr(text) == network


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Shop.Example.com", "shop.example.com"),
        ("*.example.com", "*.example.com"),
        ("example.com.", "example.com"),
        ("[::1]", "[::1]"),
        ("127.0.0.1", "127.0.0.1"),
        ("my_service", "my_service"),
    ],
)
def test_hosts(text: str, host: str) -> None:
    assert parse_host(text) == host
