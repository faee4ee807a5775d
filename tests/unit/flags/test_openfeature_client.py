"""The client of OpenFeature with its OFREP provider, over HTTP, against the port of flags: values, reasons, errors, who may."""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import FlagEvaluationDetails, Reason

from proxy.flags.ofrep import FLAGS
from tests.issuer import token
from tests.unit.core.test_flags import NORWAY, flag, rule
from tests.unit.flags.test_identity import DEVELOPERS, ClaimedHouse
from tests.unit.flags.test_ofrep import TOKEN, House, Spec

Details = FlagEvaluationDetails[Any]
ALICE = EvaluationContext("alice")

ALL = [
    flag(),
    flag("text", type="string", variants={"a": "Grüße, 世界", "empty": ""}, default="a", off="a"),
    flag("nothing", type="string", variants={"a": "x", "empty": ""}, default="empty", off="a"),
    flag("whole", type="integer", variants={"zero": 0, "large": 2**40}, default="large", off="zero"),
    flag("zero", type="integer", variants={"zero": 0}, default="zero", off="zero"),
    flag("negative", type="float", variants={"v": -2.5}, default="v", off="v"),
    flag("even", type="float", variants={"v": 1.0}, default="v", off="v"),
    flag("map", type="object", variants={"v": {"a": [1, {"b": None}], "c": "d"}}, default="v", off="v"),
    flag("bare", type="object", variants={"v": {}}, default="v", off="v"),
    flag("false", default="off"),
    flag("disabled", on=False),
    flag("targeted", default="off", rules=[rule(where=NORWAY, variant="on")]),
    flag("dealt", split={"on": 50.0, "off": 50.0}),
]


@contextmanager
def client_of(house: House, **fields: str) -> Iterator[OpenFeatureClient]:
    """The client. What it asks takes a thread: it waits for the answer."""
    provider = OFREPProvider(str(house.server.make_url("/")).rstrip("/"), headers_factory=lambda: fields)
    domain = f"tidegate {id(house)}"
    api.set_provider(provider, domain)
    try:
        yield api.get_client(domain)
    finally:
        provider.session.close()


def asked(house: House, ask: Callable[[OpenFeatureClient], Details], **fields: str) -> Details:
    """What comes of a question to this house."""
    found: list[Details] = []

    async def scene(one: House) -> None:
        with client_of(one, **fields) as client:
            found.append(await asyncio.to_thread(ask, client))

    house.play(scene)
    return found[0]


@pytest.mark.parametrize(
    ("ask", "value", "variant", "reason"),
    [
        (lambda client: client.get_boolean_details("f", False, ALICE), True, "on", Reason.STATIC),
        (lambda client: client.get_boolean_details("false", True, ALICE), False, "off", Reason.STATIC),
        (lambda client: client.get_string_details("text", "", ALICE), "Grüße, 世界", "a", Reason.STATIC),
        (lambda client: client.get_string_details("nothing", "x", ALICE), "", "empty", Reason.STATIC),
        (lambda client: client.get_integer_details("whole", 1, ALICE), 2**40, "large", Reason.STATIC),
        (lambda client: client.get_integer_details("zero", 1, ALICE), 0, "zero", Reason.STATIC),
        (lambda client: client.get_float_details("negative", 1.0, ALICE), -2.5, "v", Reason.STATIC),
        (lambda client: client.get_float_details("even", 9.0, ALICE), 1.0, "v", Reason.STATIC),
        (
            lambda client: client.get_object_details("map", {}, ALICE),
            {"a": [1, {"b": None}], "c": "d"}, "v", Reason.STATIC,
        ),
        (lambda client: client.get_object_details("bare", {"x": 1}, ALICE), {}, "v", Reason.STATIC),
        (lambda client: client.get_boolean_details("disabled", True, ALICE), False, "off", Reason.DISABLED),
        (
            lambda client: client.get_boolean_details("targeted", False, EvaluationContext("a", {"country": "NO"})),
            True, "on", Reason.TARGETING_MATCH,
        ),
        (lambda client: client.get_boolean_details("targeted", True, EvaluationContext()), False, "off", Reason.DEFAULT),
        (lambda client: client.get_boolean_details("dealt", False, ALICE), None, None, Reason.SPLIT),
    ],
)  # fmt: skip
def test_values_of_every_type_arrive(
    ask: Callable[[OpenFeatureClient], Details], value: Any, variant: str | None, reason: Reason
) -> None:
    details = asked(House(*ALL), ask)
    assert (details.error_code, details.error_message) == (None, None)
    assert details.reason == reason
    assert details.flag_metadata["reason"]
    if variant is None:
        assert 0 <= details.flag_metadata["bucket"] < 10_000
        assert (details.value, details.variant) in {(True, "on"), (False, "off")}
    else:
        assert (details.value, details.variant) == (value, variant)
        assert type(details.value) is type(value)


MANY = EvaluationContext("alice", {f"attribute {number}": number for number in range(1001)})


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda client: client.get_boolean_details("nobody", True, ALICE), ErrorCode.FLAG_NOT_FOUND),
        (lambda client: client.get_boolean_details("text", True, ALICE), ErrorCode.TYPE_MISMATCH),
        (lambda client: client.get_string_details("f", True, ALICE), ErrorCode.TYPE_MISMATCH),
        (lambda client: client.get_integer_details("negative", True, ALICE), ErrorCode.TYPE_MISMATCH),
        (lambda client: client.get_object_details("whole", True, ALICE), ErrorCode.TYPE_MISMATCH),
        (lambda client: client.get_boolean_details("dealt", True), ErrorCode.TARGETING_KEY_MISSING),
        (lambda client: client.get_boolean_details("f", True, MANY), ErrorCode.INVALID_CONTEXT),
        (
            lambda client: client.get_boolean_details("f", True, EvaluationContext("a", {"long": "x" * 70_000})),
            ErrorCode.GENERAL,
        ),
    ],
)
def test_errors_have_their_codes_and_the_application_its_default(
    ask: Callable[[OpenFeatureClient], Details], code: ErrorCode
) -> None:
    details = asked(House(*ALL), ask)
    assert (details.value, details.reason, details.error_code) == (True, Reason.ERROR, code)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, None),
        ({"X-API-Key": TOKEN}, None),
        ({"X-API-Key": "another token, 16 long"}, ErrorCode.GENERAL),
        ({}, ErrorCode.GENERAL),
    ],
)
def test_who_may_ask(fields: dict[str, str], code: ErrorCode | None) -> None:
    house = House(*ALL, tokens=[TOKEN])
    details = asked(house, lambda client: client.get_boolean_details("f", False, ALICE), **fields)
    assert (details.value, details.error_code) == (code is None, code)


def test_users_token_of_the_application_counts() -> None:
    fields = {"X-API-Key": TOKEN, "Authorization": f"Bearer {token(roles=['dev']).decode()}"}
    house = ClaimedHouse(flag(default="off", rules=[rule(where=DEVELOPERS, variant="on")]), tokens=[TOKEN])
    details = asked(house, lambda client: client.get_boolean_details("f", False, ALICE), **fields)
    assert (details.value, details.reason) == (True, Reason.TARGETING_MATCH)


# What the client never does: bulk, tags, and bodies that are none.


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "PARSE_ERROR"),
        (b"[]", "PARSE_ERROR"),
        (b"\xff", "PARSE_ERROR"),
        (b'{"context": {"targetingKey": NaN}}', "PARSE_ERROR"),
        (b'{"context": []}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
    ],
)
def test_bodies_that_are_none_have_their_codes_single_and_in_bulk(body: bytes, code: str) -> None:
    async def scene(house: House) -> None:
        for path in (FLAGS, f"{FLAGS}/f"):
            answer = await house.post(path, body)
            told = await answer.json()
            assert (answer.status, told["errorCode"]) == (400, code)
            assert told["errorDetails"]

    House(*ALL).play(scene)


def test_bulk_has_every_flag_as_a_single_question_has_it_and_its_tag_saves_the_rest() -> None:
    async def scene(house: House) -> None:
        body: Spec = {"context": {"targetingKey": "alice", "country": "NO"}}
        first = await house.post(body=body)
        flags = {one["key"]: one for one in (await first.json())["flags"]}
        assert sorted(flags) == sorted(one["name"] for one in ALL)
        for name, found in flags.items():
            assert await (await house.post(f"{FLAGS}/{name}", body)).json() == found
        tag = first.headers["ETag"]
        for given in (tag, f"W/{tag}", f'"other", {tag}'):
            again = await house.post(body=body, If_None_Match=given)
            assert (again.status, again.headers["ETag"], await again.read()) == (304, tag, b"")
        other = await house.post(body={"context": {"targetingKey": "bob", "country": "NO"}}, If_None_Match=tag)
        assert other.status == 200
        house.spec = {**house.spec, "flags": [*house.spec["flags"][:-1], flag("dealt", on=False)]}
        changed = await house.post(body=body, If_None_Match=tag)
        assert changed.status == 200
        assert json.dumps(await changed.json()) != json.dumps(await first.json())

    House(*ALL).play(scene)
