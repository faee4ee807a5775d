"""One deadline for all that is tried on behalf of a request."""

import re
import time
from itertools import pairwise
from pathlib import Path

from tests.e2e.harness.proxy import Proxy
from tests.e2e.harness.services import Service
from tests.e2e.resilience.configs import one_version
from tests.e2e.resilience.conftest import Open


def told(service: Service) -> list[int]:
    """Milliseconds that were left, as the upstream was told on each of the last requests."""
    heads = service.heads()
    found = [re.findall(r"(?im)^x-request-timeout: (\d+)ms\r?$", head) for head in heads]
    assert all(len(one) == 1 for one in found), heads
    return [int(one[0]) for one in found]


def test_all_tries_share_one_deadline(tmp_path: Path, services: Open) -> None:
    """An upstream that hangs, five tries of 300 ms, and a second for everything: three tries are begun whole, the last is cut."""
    (service,) = services("only")
    service.tell(manner="hang")
    route = {
        "timeout": "1s",
        "deadline": "x-request-timeout",
        "retry": {
            "on": ["timeout"],
            "attempts": 5,
            "per_try_timeout": "300ms",
            "back_off": {"base": "1ms"},
            "budget": {"minimum": 20},
        },
    }
    config = one_version(service, route=route, trusted_proxies=["127.0.0.9/32"])
    with Proxy(config, tmp_path) as proxy:
        began = time.monotonic()
        got = proxy.get()
        seconds = time.monotonic() - began
        assert got.status == 504
        assert "UT" in (got.get(b"x-tidegate-flags") or b"").decode().split(",")
        assert 0.95 <= seconds < 10
        left = told(service)
        assert 2 <= len(left) <= 4
        assert left[0] <= 1000
        for earlier, later in pairwise(left):
            assert later <= earlier - 290, left

        # A trusted peer may lower it, for all tries together; nobody may raise it, and a stranger is not heard.
        for source, asked, most in (
            ("127.0.0.9", "400ms", 400),
            ("127.0.0.9", "60", 1000),
            ("127.0.0.1", "400ms", 1000),
        ):
            service.forget()
            with proxy.connect(source) as wire:
                began = time.monotonic()
                got = wire.get("/", "a", f"X-Request-Timeout: {asked}")
                seconds = time.monotonic() - began
            assert got.status == 504
            retries = proxy.metrics().by("tidegate_retries_total", "outcome")
            assert most / 1000 - 0.05 <= seconds < 10, (source, asked, got, told(service), retries)
            first = told(service)[0]
            assert most / 4 <= first <= most


def test_deadline_that_has_passed_reaches_no_upstream(tmp_path: Path, services: Open) -> None:
    (service,) = services("only")
    config = one_version(service, route={"deadline": "x-request-timeout"}, trusted_proxies=["127.0.0.9/32"])
    with Proxy(config, tmp_path) as proxy, proxy.connect("127.0.0.9") as wire:
        assert wire.get("/", "a", "X-Request-Timeout: 0").status == 504
        assert service.counts().requests == 0
        assert wire.get("/", "a", "X-Request-Timeout: 5").status == 200
        assert 0 < told(service)[0] <= 5000
