"""Tokens as a worker takes them: whose requests are whose, what it costs to be lied to, and whose keys count when."""

import asyncio
import logging
from typing import Any

import pytest

from proxy.channel import messages
from proxy.core.address import client_network
from proxy.core.bearer import SIGNATURE, TOKEN_OUTCOMES, TokenPolicy
from proxy.dataplane.identifying import Identifying
from proxy.telemetry.counters import W_TOKENS
from proxy.tokens import Verdict, Verifier
from proxy.verdicts import ALLOWED, SHARE, Kept
from tests.issuer import NOW, jwk, token, token_spec
from tests.specs import request_head
from tests.unit.dataplane.stage import OK, Stage, get, pool_spec, shop, version_spec

KEY = jwk("P-256", "one")


class Desk:
    """The tokens of one worker, and requests to look at."""

    def __init__(self, *keys: dict[str, Any], **parts: Any) -> None:
        self.view = memoryview(bytearray(8 * 64)).cast("q")
        self.identifying = Identifying(self.view, 0)
        self.policy = TokenPolicy(token_spec(**parts))
        self.checked = 0
        self.now = 1000.0
        self.wall = NOW
        verifier = Verifier(self.policy.spec, list(keys) or [KEY])
        check = verifier.check

        def counted(signed: bytes, now: float) -> Verdict:
            self.checked += 1
            return check(signed, now)

        verifier.check = counted  # type: ignore[method-assign]
        self.identifying.use(self.policy, verifier)

    def sees(
        self, signed: bytes, field: bytes = b"authorization", scheme: bytes = b"Bearer ", client: str = "192.0.2.1"
    ) -> bytes | None:
        request = request_head(fields={field: scheme + signed}, client=client)
        self.identifying.identify(self.policy, request, self.wall, self.now)
        return request.claim(b"sub")

    def counts(self) -> dict[str, int]:
        values = self.view[W_TOKENS : W_TOKENS + len(TOKEN_OUTCOMES)]
        return {name: value for name, value in zip(TOKEN_OUTCOMES, values, strict=True) if value}


def test_token_is_checked_once_and_believed_until_it_ends() -> None:
    desk = Desk()
    signed = token()
    assert [desk.sees(signed) for _ in range(3)] == [b"alice"] * 3
    assert desk.checked == 1
    desk.wall = NOW + 90
    assert desk.sees(signed) is None
    assert (desk.checked, desk.counts()) == (1, {"verified": 3, "expired": 1})


def test_bad_token_is_checked_once() -> None:
    desk = Desk()
    signed = token(number=2)
    assert [desk.sees(signed) for _ in range(3)] == [None] * 3
    assert (desk.checked, desk.counts()) == (1, {"signature": 3})


def test_token_that_is_not_good_yet_is_when_its_time_comes() -> None:
    desk = Desk()
    signed = token(nbf=NOW + 40)
    assert desk.sees(signed) is None
    desk.wall = NOW + 10
    assert desk.sees(signed) == b"alice"
    assert desk.counts() == {"not_yet": 1, "verified": 1}


@pytest.mark.parametrize(
    ("field", "scheme", "parts", "found"),
    [
        (b"authorization", b"bearer  ", {}, b"alice"),
        (b"authorization", b"", {}, None),
        (b"authorization", b"Basic ", {}, None),
        (b"authorization", b"Bearer x, Bearer ", {}, None),
        (b"x-token", b"", {"header": "X-Token"}, b"alice"),
        (b"x-token", b"Bearer ", {"header": "X-Token"}, b"alice"),
        (b"cookie", b"a=b; session=", {"header": "", "cookie": "session"}, b"alice"),
        (b"authorization", b"Bearer ", {"header": "", "cookie": "session"}, None),
    ],
)
def test_where_a_token_is_found(field: bytes, scheme: bytes, parts: dict[str, Any], found: bytes | None) -> None:
    assert Desk(**parts).sees(token(), field, scheme) == found


def test_what_is_no_bearer_token_is_not_counted() -> None:
    desk = Desk()
    desk.sees(b"YTpi", scheme=b"Basic ")
    desk.sees(b"", scheme=b"Bearer ")
    assert desk.counts() == {}


def test_huge_token_is_not_looked_at() -> None:
    desk = Desk()
    assert desk.sees(b"x" * 8193) is None
    assert (desk.checked, desk.counts()) == (0, {"too_large": 1})


def test_clients_who_make_up_tokens_get_so_much_time_and_users_stay_who_they_are() -> None:
    desk = Desk()
    alice = token()
    assert desk.sees(alice) == b"alice"
    for number in range(5_000):
        desk.sees(b"a.b.%d" % number, client=f"10.0.{number >> 8}.{number & 255}")
    assert desk.checked == 1 + ALLOWED
    assert desk.counts() == {"verified": 1, "malformed": ALLOWED, "unchecked": 5_000 - ALLOWED}
    assert desk.sees(alice) == b"alice"
    bob = token(sub="bob")
    assert desk.sees(bob) is None
    desk.now += 0.1
    assert desk.sees(bob) == b"bob"


@pytest.mark.parametrize("near", ["192.0.2.1", "2001:db8::{}"])
def test_one_client_who_makes_up_tokens_leaves_time_for_others(near: str) -> None:
    desk = Desk()
    for number in range(1_000):
        desk.sees(b"a.b.%d" % number, client=near.format(f"{number:x}"))
    assert desk.counts() == {"malformed": SHARE, "unchecked": 1_000 - SHARE}
    share = hash(client_network(near.format(1))) % 256
    far = next(
        one for one in (f"192.0.2.{number}" for number in range(2, 99)) if hash(client_network(one)) % 256 != share
    )
    assert desk.sees(token(sub="bob"), client=far) == b"bob"
    assert desk.sees(token(sub="carol"), client=near.format(1)) is None
    desk.now += 0.1
    assert desk.sees(token(sub="carol"), client=near.format(1)) == b"carol"


def test_tables_are_bounded_and_the_least_used_is_forgotten() -> None:
    kept = Kept(10)
    verdict = Verdict(SIGNATURE, None, 0.0)
    for number in range(100):
        kept.put(b"%d" % number, verdict)
        assert kept.get(b"0") is verdict
        assert len(kept) <= 20
    assert kept.get(b"1") is None


def test_causes_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    with caplog.at_level(logging.WARNING, "tidegate.worker"):
        for _ in range(50):
            desk.sees(b"x")
        desk.sees(token(number=2))
        desk.now += 60.0
        desk.sees(b"x")
    told = [(one.cause, one.tokens) for one in caplog.records]  # type: ignore[attr-defined]
    assert told == [("malformed", 1), ("signature", 1), ("malformed", 50)]


def test_keys_count_for_plans_that_name_their_source() -> None:
    async def play() -> None:
        desk = Identifying(memoryview(bytearray(8 * 64)).cast("q"), 0)
        here, there = TokenPolicy(token_spec()), TokenPolicy(token_spec(source="there"))
        request = request_head(fields={b"authorization": b"Bearer " + token()})

        def believed(policy: TokenPolicy) -> bool:
            request.claims = None
            desk.identify(policy, request, NOW, 0.0)
            return request.claims is not None

        await desk.take({"source": "here", "keys": [KEY]}, None)
        assert not believed(here)  # no plan
        desk.use(here, await desk.prepare(here))
        assert believed(here)
        first = await desk.prepare(here)
        assert first is await desk.prepare(here)  # nothing has changed: what is known stays known
        desk.use(there, await desk.prepare(there))
        assert not believed(there)
        desk.use(here, await desk.prepare(here))
        assert not believed(here)  # they left with the plan that named them

    asyncio.run(play())


def test_control_is_told_once_of_a_key_that_is_not_there() -> None:
    desk = Desk()
    said: list[tuple[int, bytes]] = []
    heard = True

    def send(kind: int, payload: bytes) -> bool:
        said.append((kind, payload))
        return heard

    desk.sees(token())
    desk.sees(token(number=2))
    desk.identifying.flush(send)
    assert said == []
    heard = False
    signed = token(kid="two", number=2)
    desk.sees(signed)
    desk.identifying.flush(send)
    heard = True
    desk.identifying.flush(send)  # nobody was there to hear it
    desk.sees(signed)  # known to be bad
    desk.identifying.flush(send)
    assert said == [(messages.LACKING, b'{"source": "here"}')] * 2


def claimed_shop(**parts: Any) -> dict[str, Any]:
    route = {
        "versions": [version_spec("stable", 100.0, upstream="old"), version_spec("canary", 0.0, upstream="new")],
        "unit": [{"kind": "claim", "name": "sub"}, {"kind": "header", "name": "x-user"}],
        "rules": [
            {"label": "rules[0]", "units": ["alice"], "version": "canary"},
            {
                "label": "rules[1]",
                "where": {"source": "claim", "name": "roles", "test": "in", "value": ["dev"]},
                "version": "canary",
            },
        ],
        "claimed": True,
    }
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2")]
    return shop(route=route | parts, upstreams=pools, jwt=token_spec())


@pytest.mark.parametrize(
    ("signed", "host"),
    [
        (token(), "10.0.0.2"),
        (token(sub="bob", roles=["ops", "dev"]), "10.0.0.2"),
        (token(sub="bob", roles=["ops"]), "10.0.0.1"),
        (token(number=2), "10.0.0.1"),
        (b"nonsense", "10.0.0.1"),
    ],
)
def test_claims_decide_and_a_bad_token_is_no_error(signed: bytes, host: str) -> None:
    stage = Stage(claimed_shop())
    plan = stage.runtime.plan
    assert plan is not None
    stage.runtime.identifying.use(plan.tokens, Verifier(token_spec(leeway=1e12), [KEY]))
    client = stage.client()
    client.send(get("/", "Authorization: Bearer " + signed.decode()))
    dial = stage.dial()
    assert dial.address.startswith(host)
    upstream = dial.accept()
    stage.wires.append(upstream)
    stage.settle()
    upstream.take()
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_route_that_looks_at_no_claim_looks_at_no_token() -> None:
    stage = Stage(claimed_shop(claimed=False, unit=[], rules=[]))
    client = stage.client()
    client.send(get("/", "Authorization: Bearer x"))
    stage.accept().take()
    assert sum(stage.of_worker(W_TOKENS + place) for place in range(len(TOKEN_OUTCOMES))) == 0
