"""TLS on both sides: verified upstreams, client certificates, certificates by name and their renewal."""

import os
import socket
import ssl
import time
from pathlib import Path

import pytest

from .harness.certificates import Authority, server_context
from .harness.client import Wire, connect_tls
from .harness.origin import Origin
from .harness.proxy import Config, Proxy, single
from .harness.wait import DEADLINE, wait_for


def test_upstream_over_tls_is_verified_and_shown_our_certificate(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server = ours.issue("server", "127.0.0.1", "origin.test")
    client = ours.issue("client", "tidegate", client=True)
    with Origin(tls=server_context(*server, clients=ours.file)) as origin:
        tls = {"ca": str(ours.file), "certificate": str(client[0]), "key": str(client[1])}
        with Proxy(single(origin, policy={"tls": tls}), tmp_path) as proxy:
            assert proxy.get().status == 200
            proxy.edit(lambda config: config["upstreams"]["origin"]["tls"].update(server_name="origin.test"))
            assert proxy.get().status == 200
            proxy.edit(lambda config: config["upstreams"]["origin"]["tls"].update(server_name="evil.test"))
            proxy.fails(503, "UF")
        assert len(origin.requests) == 2


def test_upstream_with_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = theirs.issue("server", "127.0.0.1")
    with Origin(tls=server_context(*server)) as origin:
        for policy in ({"tls": {"ca": str(ours.file)}}, {}):
            directory = tmp_path / f"proxy-{len(policy)}"
            directory.mkdir()
            with Proxy(single(origin, policy=policy), directory) as proxy:
                proxy.fails(503, "UF")
        assert origin.requests == []


@pytest.mark.parametrize("pieces", [1, 2, 40])
@pytest.mark.parametrize(
    ("preface", "address"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n", b"192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\1\x13\x88\1\xbb", b"192.0.2.7"),
    ],
)
def test_preface_of_the_proxy_protocol_stands_before_the_handshake(
    tmp_path: Path, preface: bytes, address: bytes, pieces: int
) -> None:
    authority = Authority(tmp_path)
    file, key = authority.issue("shop", "shop.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        tls = {"certificates": [{"hosts": ["shop.test"], "certificate": str(file), "key": str(key)}]}
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": tls, "proxy_protocol": True}]
        with proxy:
            context = ssl.create_default_context(cafile=str(authority.file))
            plain = socket.create_connection(proxy.address, timeout=DEADLINE)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            step = -(-len(preface) // pieces)
            for start in range(0, len(preface), step):
                plain.sendall(preface[start : start + step])
            with Wire(context.wrap_socket(plain, server_hostname="shop.test")) as wire:
                assert wire.get("/", "shop.test").status == 200
            assert origin.requests[0].get(b"x-forwarded-for") == address
            with socket.create_connection(proxy.address, timeout=DEADLINE) as stranger:
                stranger.sendall(b"\x16\x03\x01\x02\0\1\0\1\xfc\3\3 and so on")
                assert Wire(stranger).ends() == b""
            proxy.wait_metric(1, "tidegate_requests_total", route="none", code="400")


def test_listener_picks_certificates_by_name_and_reads_them_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shop = authority.issue("shop", "shop.test")
    wild = authority.issue("wild", "*.example.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        certificates = [
            {"hosts": ["shop.test"], "certificate": str(shop[0]), "key": str(shop[1])},
            {"hosts": ["*.example.test"], "certificate": str(wild[0]), "key": str(wild[1])},
        ]
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": {"certificates": certificates}}]

        def serial(name: str) -> str:
            with connect_tls(proxy.address, name, authority.file) as wire:
                assert wire.get("/", name).status == 200
                return str(wire.socket.getpeercert()["serialNumber"])  # type: ignore[attr-defined]

        with proxy:
            before = serial("shop.test")
            other = serial("a.example.test")
            assert other != before
            assert origin.requests[0].get(b"x-forwarded-proto") == b"https"
            with connect_tls(proxy.address, "shop.test", authority.file) as open_before:
                authority.issue("shop", "shop.test")
                wait_for(lambda: serial("shop.test") != before, "the new certificate")
                assert serial("a.example.test") == other
                assert open_before.get().status == 200


def test_listener_speaks_no_plain_http_on_a_tls_port(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("shop", "shop.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        tls = {"certificates": [{"certificate": str(certificate), "key": str(key)}]}
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": tls}]
        with proxy, proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not wire.ends().startswith(b"HTTP/1.1 200")
            assert origin.requests == []


def test_listener_becomes_a_tls_listener_while_it_runs(tmp_path: Path) -> None:
    """`tls` is live: newcomers speak TLS, and who was connected before goes on in plain HTTP."""
    authority = Authority(tmp_path)
    file, key = authority.issue("shop", "shop.test")
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as before:
        assert before.get("/").status == 200
        generation = proxy.generation()

        def secure(config: Config) -> None:
            tls = {"certificates": [{"hosts": ["shop.test"], "certificate": str(file), "key": str(key)}]}
            config["listen"] = [{"address": config["listen"], "tls": tls}]

        proxy.edit(secure)
        wait_for(lambda: proxy.generation() > generation, "the new plan")
        context = ssl.create_default_context(cafile=str(authority.file))

        def speaks_tls() -> bool:
            try:
                plain = socket.create_connection(proxy.address, timeout=DEADLINE)
                with Wire(context.wrap_socket(plain, server_hostname="shop.test")) as wire:
                    return wire.get("/", "shop.test").status == 200
            except OSError:
                return False

        wait_for(speaks_tls, "the listener to speak TLS")
        assert origin.requests[-1].get(b"x-forwarded-proto") == b"https"
        assert before.get("/").status == 200


def test_client_that_never_takes_leave_is_closed_all_the_same(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    file, key = authority.issue("shop", "shop.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        tls = {"certificates": [{"hosts": ["shop.test"], "certificate": str(file), "key": str(key)}]}
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": tls}]
        with proxy, connect_tls(proxy.address, "shop.test", authority.file) as wire:
            assert wire.get("/", "shop.test", "Connection: close").status == 200
            below = socket.socket(fileno=os.dup(wire.socket.fileno()))
            with below:
                below.settimeout(DEADLINE)
                started = time.monotonic()
                try:
                    while below.recv(4096):  # its close_notify, which nobody answers, and then the end
                        pass
                except ConnectionResetError:
                    pass
                assert time.monotonic() - started < 8
