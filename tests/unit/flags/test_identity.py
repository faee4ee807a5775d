"""Users' tokens on the port of flags: what they say beats the body, and what is not believed says nothing."""

from typing import Any

import pytest

from proxy.flags.identity import Identity
from proxy.flags.ofrep import FLAGS, OfrepServer
from proxy.flags.service import FlagService
from proxy.telemetry.facts import FlagFacts
from tests.issuer import NOW, jwk, token, token_spec
from tests.specs import plan_spec, request_head, route_spec, version_spec
from tests.unit.core.test_flags import flag, rule
from tests.unit.flags.test_ofrep import TOKEN, House

Spec = dict[str, Any]
KEY = jwk("P-256", "one")
DEVELOPERS = {"source": "claim", "name": "roles", "test": "in", "value": ["dev"]}
PRO = {"source": "attribute", "name": "plan", "test": "in", "value": ["pro"]}
OWN = {"targetingKey": {"claim": "sub"}, "plan": {"claim": "plan"}}


class Source:
    """Keys, and how often others were asked for."""

    def __init__(self, *keys: Spec) -> None:
        self.keys = list(keys)
        self.wanted = 0

    def want(self) -> None:
        self.wanted += 1


class ClaimedHouse(House):
    """A port at which tokens are looked at."""

    def __init__(self, *flags: Spec, **settings: Any) -> None:
        self.source = Source(KEY)
        super().__init__(*flags, **settings)

    def build(self, settings: Any) -> OfrepServer:
        self.spec = self.spec | {"jwt": token_spec(claims=["plan", "roles", "sub"])}
        self.service = FlagService(lambda: self.spec, dict, lambda: NOW, self.facts, self.source)
        return OfrepServer(self.service, settings)


@pytest.mark.parametrize(
    ("signed", "variant", "outcome"),
    [
        (token(roles=["ops", "dev"]), "on", "verified"),
        (token(roles=["ops"]), "off", "verified"),
        (token(roles=["dev"], number=2), "off", "signature"),
        (token(roles=["dev"], exp=NOW - 60), "off", "expired"),
        (b"nonsense", "off", "malformed"),
    ],
)
def test_matcher_on_a_claim_sees_a_verified_token_and_no_other(signed: bytes, variant: str, outcome: str) -> None:
    async def scene(house: House) -> None:
        body = {"context": {"targetingKey": "alice", "roles": "dev"}}
        answer = await house.post(f"{FLAGS}/f", body, Authorization=f"Bearer {signed.decode()}")
        assert answer.status == 200
        assert (await answer.json())["variant"] == variant
        assert house.facts.flags.tokens == {outcome: 1}

    ClaimedHouse(flag(default="off", rules=[rule(where=DEVELOPERS, variant="on")])).play(scene)


def test_claims_beat_what_the_body_says() -> None:
    async def scene(house: House) -> None:
        async def variants(body: Spec, **fields: str) -> list[str]:
            flags = (await (await house.post(body={"context": body}, **fields)).json())["flags"]
            return [one["variant"] for one in flags]

        mallory = {"targetingKey": "alice", "plan": "pro"}
        assert await variants(mallory) == ["off", "off"]  # nobody says who it is
        bob = f"Bearer {token(sub='bob', plan='free').decode()}"
        assert await variants(mallory, Authorization=bob) == ["off", "off"]
        alice = f"Bearer {token(sub='alice', plan='pro').decode()}"
        assert await variants({"targetingKey": "bob", "plan": "free"}, Authorization=alice) == ["on", "on"]
        many = f"Bearer {token(sub='bob', plan=['free', 'pro']).decode()}"
        assert await variants({}, Authorization=many) == ["off", "off"]  # as the body's lists: their JSON
        assert house.facts.flags.tokens == {"verified": 3}

    unit = flag("unit", default="off", rules=[rule(units=["alice"], variant="on")])
    plan = flag("plan", default="off", rules=[rule(where=PRO, variant="on")])
    ClaimedHouse(unit, plan, known=OWN).play(scene)


def test_flag_of_a_route_sees_the_claims_that_the_route_sees() -> None:
    async def scene(house: House) -> None:
        versions = [version_spec("stable", 100.0), version_spec("canary", 0.0)]
        rules = [{"label": "rules[0]", "where": DEVELOPERS, "version": "canary"}]
        shop = route_spec(name="shop", versions=versions, rules=rules)
        house.spec = plan_spec(
            shop,
            flags=[flag("shop", route="shop", variants={"stable": "stable", "canary": "canary"}, default="stable")],
            jwt=house.spec["jwt"],
        )
        signed = f"Bearer {token(roles=['dev']).decode()}"
        assert (await (await house.post(f"{FLAGS}/shop", Authorization=signed)).json())["variant"] == "canary"
        assert (await (await house.post(f"{FLAGS}/shop")).json())["variant"] == "stable"

    ClaimedHouse(flag()).play(scene)


def test_token_of_the_port_is_no_users() -> None:
    async def scene(house: House) -> None:
        assert (await house.post(Authorization=f"Bearer {TOKEN}")).status == 200
        assert house.facts.flags.tokens == {}
        signed = token(roles=["dev"]).decode()
        answer = await house.post(f"{FLAGS}/f", X_API_Key=TOKEN, Authorization=f"Bearer {signed}")
        assert (await answer.json())["variant"] == "on"
        assert (await house.post(Authorization=f"Bearer {signed}")).status == 401

    ClaimedHouse(flag(default="off", rules=[rule(where=DEVELOPERS, variant="on")]), tokens=[TOKEN]).play(scene)


def test_tag_is_another_for_other_claims() -> None:
    async def scene(house: House) -> None:
        tags = [
            (await house.post(Authorization=f"Bearer {token(plan=plan).decode()}")).headers["ETag"]
            for plan in ("free", "free", "pro")
        ]
        assert tags[0] == tags[1] != tags[2]

    ClaimedHouse(flag()).play(scene)


def test_keys_count_when_they_come_and_leave_with_the_plan() -> None:
    source = Source()
    facts = FlagFacts()
    identity = Identity(source, facts, lambda: 0.0)
    spec = token_spec()
    request = request_head(fields={b"authorization": b"Bearer " + token()})
    request.at = NOW

    def believed(given: Spec | None) -> bool:
        identity.look(given)
        request.claims = None
        identity.identify(request, ())
        return request.claims is not None

    assert not believed(None)
    assert not believed(spec)  # no keys
    source.keys = [KEY]
    assert believed(spec)
    assert not believed(spec | {"audiences": ["others"]})
    assert believed(spec)
    source.keys = [jwk("P-256", "two", 2)]
    assert not believed(spec)
    assert source.wanted == 1  # another set may have the key `one`
    assert not believed(spec)
    assert source.wanted == 1  # known to be bad
    assert not believed(None)
    assert facts.tokens == {"unchecked": 1, "verified": 2, "audience": 1, "key": 2}
