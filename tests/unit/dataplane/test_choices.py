"""The page where units choose a version: who may, what it says, and what a choice does."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.plan import OVERRIDE
from proxy.telemetry.counters import (
    CHOICE_CHOSEN,
    CHOICE_LEFT,
    CHOICE_LIMITED,
    CHOICE_OUTCOMES,
    CHOICE_REFUSED,
    CHOICE_SHOWN,
    CHOICE_UNCHANGED,
    V_CAP,
    V_CHOICES,
    V_REASONS,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import Stage, answer, get, shop

Spec = dict[str, Any]
StageOf = Callable[..., Stage]

PAGE = "/.tidegate/choice"
HERE = "Sec-Fetch-Site: same-origin"
MEMBER = "X-Beta: 1"


def club(**parts: Any) -> Spec:
    """Members of the beta may choose the canary, which nobody else has."""
    return shop(
        route={
            "versions": [version_spec("stable", 100.0), version_spec("canary", 0.0)],
            "choice": {
                "versions": ["canary", "stable"],
                "segment": "beta",
                "path": PAGE,
                "cookie": "mine",
                "rate": 1.0,
                "burst": 30,
            },
        }
        | parts,
        segments=[{"name": "beta", "where": {"source": "header", "name": "x-beta", "test": "exists", "value": True}}],
        secrets={"cookie": ["secret"], "unit_hash": "k"},
    )


def ask(stage: Stage, path: str, *fields: str, method: str = "GET", unit: str = "ann") -> tuple[int, bytes, bytes]:
    """Status, head and body of an answer that no upstream gives."""
    client = stage.client()
    client.send(get(path, f"X-User-Id: {unit}", *fields, method=method))
    head, _, body = client.take().partition(b"\r\n\r\n")
    return int(head.split()[1]), head + b"\r\n", body


def given(stage: Stage, *fields: str, unit: str = "ann") -> str:
    """The version that serves an ordinary request."""
    client = stage.client()
    client.send(get("/", f"X-User-Id: {unit}", "Connection: close", *fields))
    upstream = stage.accept()
    version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0].decode()
    upstream.send(answer(200, "Connection: close", body=b"x"))
    client.take()
    return version


def choose(stage: Stage, version: str, *fields: str) -> str:
    status, head, _ = ask(stage, f"{PAGE}?version={version}", HERE, MEMBER, *fields, method="POST")
    assert status == 303
    assert b"\r\nlocation: /.tidegate/choice\r\n" in head
    return "Cookie: " + head.partition(b"set-cookie: ")[2].partition(b";")[0].decode()


def test_member_chooses_a_version_sees_it_and_leaves_it(stage_of: StageOf) -> None:
    stage = stage_of(club())
    status, head, body = ask(stage, PAGE, MEMBER)
    assert status == 200
    assert b"cache-control: no-store" in head
    told = {"route": "shop", "versions": ["canary", "stable"], "chosen": None, "version": "stable"}
    assert json.loads(body) == told
    cookie = choose(stage, "canary")
    assert given(stage, MEMBER, cookie) == "canary"
    assert stage.of_version(V_REASONS + OVERRIDE, "canary") == 1
    assert json.loads(ask(stage, PAGE, MEMBER, cookie)[2]) == told | {"chosen": "canary", "version": "canary"}
    status, head, _ = ask(stage, f"{PAGE}?version=", HERE, MEMBER, cookie, method="POST")
    assert status == 303
    assert b"set-cookie: mine=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0\r\n" in head
    assert given(stage, MEMBER) == "stable"
    counted = {
        (name, outcome): stage.of_version(V_CHOICES + outcome, name)
        for name in ("stable", "canary")
        for outcome in (CHOICE_SHOWN, CHOICE_CHOSEN, CHOICE_LEFT, CHOICE_REFUSED)
    }
    assert {key: count for key, count in counted.items() if count} == {
        ("stable", CHOICE_SHOWN): 1,
        ("canary", CHOICE_SHOWN): 1,
        ("canary", CHOICE_CHOSEN): 1,
        ("canary", CHOICE_LEFT): 1,
    }


def test_choice_is_good_for_its_unit_and_while_it_may_choose(stage_of: StageOf) -> None:
    stage = stage_of(club())
    cookie = choose(stage, "canary")
    assert given(stage, cookie) == "stable"  # no member any more
    assert given(stage, MEMBER, cookie, unit="bob") == "stable"
    assert given(stage, MEMBER, "Cookie: mine=canary.0.1700000000.AAAAAAAAAAAAAAAAAAAAAA") == "stable"


@pytest.mark.parametrize(
    "parts",
    [
        {"rules": [{"label": "rules[0]", "units": ["ann"], "deny": "canary"}]},
        {"versions": [version_spec("stable", 100.0), version_spec("canary", 0.0, kill={"until": 0.0})]},
    ],
    ids=["deny", "kill"],
)
def test_deny_and_kill_win_over_a_choice(stage_of: StageOf, parts: Spec) -> None:
    stage = stage_of(club())
    cookie = choose(stage, "canary")
    stage.bring(club(**parts))
    assert given(stage, MEMBER, cookie) == "stable"
    assert json.loads(ask(stage, PAGE, MEMBER)[2])["versions"] == ["stable"]
    assert ask(stage, f"{PAGE}?version=canary", HERE, MEMBER, method="POST")[0] == 404


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((), 403),
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: same-site", "Origin: http://shop.example.com"), 403),
        (("Sec-Fetch-Site: none",), 403),
        (("Origin: https://evil.example.com",), 403),
        (("Origin: null",), 403),
        (("Origin: https://shop.example.com",), 303),
        ((HERE,), 303),
    ],
)
def test_choice_is_made_on_the_sites_own_page_only(stage_of: StageOf, fields: tuple[str, ...], status: int) -> None:
    stage = stage_of(club())
    found, head, _ = ask(stage, f"{PAGE}?version=canary", MEMBER, *fields, method="POST")
    assert (found, b"set-cookie" in head) == (status, status == 303)
    assert stage.of_version(V_CHOICES + CHOICE_REFUSED, "stable") == (status == 403)


@pytest.mark.parametrize(
    ("method", "path", "fields", "status"),
    [
        ("GET", PAGE, (), 403),
        ("POST", f"{PAGE}?version=canary", (HERE,), 403),
        ("POST", f"{PAGE}?version=blue", (HERE, MEMBER), 404),
        ("POST", PAGE, (HERE, MEMBER), 400),
        ("DELETE", PAGE, (HERE, MEMBER), 405),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    stage_of: StageOf, method: str, path: str, fields: tuple[str, ...], status: int
) -> None:
    stage = stage_of(club())
    found, head, body = ask(stage, path, *fields, method=method)
    assert found == status
    assert json.loads(body)["error"]
    assert b"set-cookie" not in head
    assert stage.of_version(V_CHOICES + CHOICE_REFUSED, "stable") == 1
    assert stage.codes() == {}


def test_answers_of_the_page_are_none_of_a_versions_figures(stage_of: StageOf) -> None:
    stage = stage_of(club(max_body=10))
    cookie = choose(stage, "canary")
    ask(stage, PAGE, MEMBER, cookie)
    ask(stage, PAGE)
    assert ask(stage, PAGE, MEMBER, "Content-Length: 11", method="POST")[0] == 413
    assert len(CHOICE_OUTCOMES) == V_CAP - V_CHOICES
    assert stage.of_version(V_CHOICES + CHOICE_REFUSED) == 2
    for version in ("stable", "canary"):
        counted = {slot: count for slot in range(V_CHOICES) if (count := stage.of_version(slot, version))}
        assert counted == {}
    assert stage.codes() == {}
    assert given(stage, MEMBER, cookie) == "canary"  # an ordinary request is
    assert stage.codes() == {("canary", "canary", 200): 1}


def test_chosen_less_left_are_those_who_have_a_version_by_choice(stage_of: StageOf) -> None:
    stage = stage_of(club())

    def figures() -> dict[str, tuple[int, int, int]]:
        outcomes = (CHOICE_CHOSEN, CHOICE_LEFT, CHOICE_UNCHANGED)
        return {
            name: tuple(stage.of_version(V_CHOICES + one, name) for one in outcomes)  # type: ignore[misc]
            for name in ("canary", "stable")
        }

    cookie = choose(stage, "canary")
    choose(stage, "canary", cookie)  # the same once more
    assert figures() == {"canary": (1, 0, 1), "stable": (0, 0, 0)}
    cookie = choose(stage, "stable", cookie)
    assert figures() == {"canary": (1, 1, 1), "stable": (1, 0, 0)}
    ask(stage, f"{PAGE}?version=", HERE, MEMBER, cookie, method="POST")
    assert figures() == {"canary": (1, 1, 1), "stable": (1, 1, 0)}
    ask(stage, f"{PAGE}?version=", HERE, MEMBER, method="POST")  # nothing to leave
    assert figures() == {"canary": (1, 1, 1), "stable": (1, 1, 1)}


def test_page_is_asked_so_often_by_an_address_and_no_more(stage_of: StageOf) -> None:
    spec = club()
    spec["routes"][0]["choice"] |= {"rate": 0.1, "burst": 3}
    stage = stage_of(spec)
    assert [ask(stage, PAGE, MEMBER)[0] for _ in range(3)] == [200] * 3
    status, head, body = ask(stage, PAGE, MEMBER, unit="bob")
    assert status == 429
    assert b"\r\nretry-after: 10\r\n" in head
    assert json.loads(body)["error"] == "too many requests to this page"
    assert stage.of_version(V_CHOICES + CHOICE_LIMITED) == 1
    assert given(stage, MEMBER) == "stable"  # the route is not limited
    assert ask(stage, PAGE, MEMBER, method="POST")[0] == 429
    stage.pass_time(10.0)
    assert ask(stage, PAGE, MEMBER)[0] == 200


def test_people_get_a_form_and_head_gets_no_body(stage_of: StageOf) -> None:
    stage = stage_of(club())
    cookie = choose(stage, "canary")
    _, head, body = ask(stage, PAGE, MEMBER, cookie, "Accept: text/html,*/*")
    assert b"content-type: text/html" in head
    assert b"frame-ancestors 'none'" in head
    assert b'<form method="post" action="?version=stable">' in body
    assert b"<b>canary</b>, which you chose" in body
    status, head, body = ask(stage, PAGE, MEMBER, method="HEAD")
    assert (status, body) == (200, b"")
    assert b"content-length: 0" not in head


def test_route_without_a_choice_passes_the_path_on(stage_of: StageOf) -> None:
    stage = stage_of(club(choice=None))
    stage.client().send(get(PAGE, "X-User-Id: ann"))
    assert stage.accept().take().startswith(b"GET /.tidegate/choice ")
