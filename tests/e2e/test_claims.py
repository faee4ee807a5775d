"""Tokens under a running proxy: whose requests they are, keys that rotate in a file and at a URL, and no error for anybody."""

import http.server
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.issuer import jwk, key_set, token

from .harness.load import Wrk
from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for

ONE, TWO = jwk("P-256", "one"), jwk("Ed25519", "two")


def claimed(stable: Origin, canary: Origin, jwt: Config, **more: object) -> Config:
    """Alice and developers get the canary, and nobody else."""
    return configuration(
        {"stable": upstream(stable), "canary": upstream(canary)},
        [
            {
                "name": "main",
                "unit": [{"claim": "sub"}],
                "versions": {"stable": {"upstream": "stable", "weight": 1}, "canary": {"upstream": "canary"}},
                "rules": [{"units": ["alice"], "version": "canary"}, {"segment": "devs", "version": "canary"}],
            }
        ],
        segments={"devs": {"claim": "roles", "in": ["dev"]}},
        jwt={"issuer": "https://login.example.com", "audience": "shop", **jwt},
        **more,
    )


def signed(algorithm: str = "ES256", kid: str = "one", **claims: Any) -> str:
    return token(algorithm, kid, **({"exp": time.time() + 600} | claims)).decode()


def gets(proxy: Proxy, value: str) -> bytes:
    got = proxy.get("/", "main.test", f"Authorization: Bearer {value}")
    assert got.status == 200
    return got.body


@pytest.mark.parametrize("workers", [1, 2])
def test_keys_rotate_in_their_file_under_load_and_no_request_is_lost(tmp_path: Path, workers: int) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(ONE))
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(claimed(stable, canary, {"jwks_file": "jwks.json"}, workers=workers), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=4, seconds=6) as load,
    ):
        generation = proxy.generation()
        old, new = signed(), signed("EdDSA", "two")
        assert (gets(proxy, old), gets(proxy, new)) == (b"canary", b"stable")
        assert gets(proxy, signed(sub="bob", roles=["ops", "dev"])) == b"canary"
        for bad in (signed(sub="bob"), signed(exp=time.time() - 60), signed(aud="other"), signed(number=7), "x.y.z"):
            assert gets(proxy, bad) == b"stable"
        file.write_bytes(key_set(ONE, TWO))
        wait_for(lambda: all(gets(proxy, new) == b"canary" for _ in range(8)), "the new key")
        assert gets(proxy, old) == b"canary"
        fresh = file.with_suffix(".new")
        fresh.write_bytes(key_set(TWO))
        fresh.rename(file)
        wait_for(lambda: all(gets(proxy, old) == b"stable" for _ in range(8)), "the old key gone")
        file.write_bytes(b"{}")
        proxy.wait_metric(0, "tidegate_token_keys_current")
        assert gets(proxy, new) == b"canary"
        assert proxy.generation() == generation  # no plan was made
        done, wrong = load.finish()
        assert wrong == ""
        assert done > 100


class Keys(http.server.BaseHTTPRequestHandler):
    """Has a key set, or an error where there is none."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200 if self.body else 503)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


def test_keys_of_a_url_are_renewed_and_outlive_it_and_control(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Keys.body = key_set(ONE)
    jwt = {"jwks_url": f"http://127.0.0.1:{server.server_port}/jwks.json", "refresh": "200ms"}
    try:
        with (
            Origin(answer(b"stable"), record=False) as stable,
            Origin(answer(b"canary"), record=False) as canary,
            Proxy(claimed(stable, canary, jwt), tmp_path) as proxy,
        ):
            old, new = signed(), signed("EdDSA", "two")
            assert (gets(proxy, old), gets(proxy, new)) == (b"canary", b"stable")
            Keys.body = key_set(TWO)
            wait_for(lambda: gets(proxy, new) == b"canary", "the new key")
            Keys.body = b""
            proxy.wait_metric(0, "tidegate_token_keys_current")
            assert (gets(proxy, old), gets(proxy, new)) == (b"stable", b"canary")
            os.kill(proxy.workers()[0], 9)  # the one that comes gets the last good keys
            proxy.ready()
            wait_for(lambda: gets(proxy, new) == b"canary", "a new worker with the keys")
    finally:
        server.shutdown()
        server.server_close()


def test_new_key_counts_at_its_first_token_and_a_restart_needs_no_issuer(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Keys)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Keys.body = key_set(ONE)
    jwt = {"jwks_url": f"http://127.0.0.1:{server.server_port}/jwks.json", "refresh": "1h"}
    with Origin(answer(b"stable"), record=False) as stable, Origin(answer(b"canary"), record=False) as canary:
        config = claimed(stable, canary, jwt, state=f"sqlite:{tmp_path}/state.db")
        with Proxy(config, tmp_path) as proxy:
            new = signed("EdDSA", "two")
            assert gets(proxy, signed()) == b"canary"
            Keys.body = key_set(ONE, TWO)
            assert gets(proxy, new) == b"stable"
            wait_for(lambda: gets(proxy, new) == b"canary", "the new key")
            proxy.wait_metric(1, "tidegate_token_keys_early_total")
            server.shutdown()
            server.server_close()
            proxy.end()
            proxy.start()
            assert (gets(proxy, signed()), gets(proxy, new)) == (b"canary", b"canary")
            proxy.wait_metric(0, "tidegate_token_keys_current")


def test_workers_know_their_users_while_control_is_gone_and_when_another_takes_over(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_bytes(key_set(ONE))
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(claimed(stable, canary, {"jwks_file": "jwks.json"}), tmp_path) as proxy,
    ):
        worker = proxy.workers()
        os.kill(proxy.control(), 9)
        assert gets(proxy, signed()) == b"canary"
        wait_for(lambda: proxy.workers() == worker and proxy.ready(), "another control process")
        assert gets(proxy, signed()) == b"canary"
        file.write_bytes(key_set(TWO))
        wait_for(lambda: gets(proxy, signed("EdDSA", "two")) == b"canary", "the new key")
