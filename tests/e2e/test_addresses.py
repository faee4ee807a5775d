"""Where the proxy listens and whom it asks: names, unix sockets, descriptors, the PROXY protocol."""

import socket
from pathlib import Path

from .harness.client import Wire
from .harness.origin import Origin
from .harness.proxy import Proxy, single


def test_upstream_by_name(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(f"http://localhost:{origin.port}"), tmp_path) as proxy:
        assert proxy.get().status == 200


def test_upstream_and_listener_on_unix_sockets(tmp_path: Path) -> None:
    listening = tmp_path / "in.sock"
    with Origin(unix=tmp_path / "up.sock") as origin:
        proxy = Proxy(single(origin), tmp_path)
        proxy.config["listen"] = [f"127.0.0.1:{proxy.port}", f"unix:{listening}"]
        with proxy:
            assert proxy.get().status == 200
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(listening))
            with Wire(client) as wire:
                assert wire.get().status == 200


def test_listener_passed_in(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed, Origin() as origin:
        config = single(origin, listen=f"fd:{passed.fileno()}")
        proxy = Proxy(config, tmp_path, pass_fds=(passed.fileno(),))
        proxy.port = passed.getsockname()[1]
        with proxy:
            passed.close()
            assert proxy.get().status == 200


def test_proxy_protocol_tells_the_client_address(tmp_path: Path) -> None:
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "proxy_protocol": True}]
        with proxy:
            with proxy.connect() as wire:
                wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n")
                assert wire.get().status == 200
                assert origin.requests[0].get(b"x-forwarded-for") == b"192.0.2.7"
            with proxy.connect() as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert not wire.ends().startswith(b"HTTP/1.1 200")
            assert len(origin.requests) == 1
