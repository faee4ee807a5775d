"""Expressions in CEL: checked, asked what they read, evaluated, and never an error of a request."""

import sys
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.match import compile_matcher, expression_key, trace_matcher
from proxy.core.request import Request
from proxy.expressions import (
    LONGEST,
    Expression,
    ExpressionError,
    check,
    compiled,
    expressions_in,
    is_absence,
    matchers_of,
)
from proxy.settings.loader import SettingsError, load
from tests.specs import plan_spec, request_head, route_spec


def evaluated(text: str, request: Request | None = None) -> tuple[bool, str]:
    return Expression(text, check(text)).evaluate(request or request_head())


def holds(text: str, **parts: Any) -> bool:
    request = request_head(**{key: value for key, value in parts.items() if key in {"fields", "path", "query"}})
    for name, value in parts.items():
        if name not in {"fields", "path", "query"}:
            setattr(request, name, value)
    matched, trouble = evaluated(text, request)
    assert trouble == ""
    return matched


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("true", {}),
        ('request.headers["x-plan"] == "pro"', {"request.headers": ["x-plan"]}),
        ('has(request.query.b) && request.query["a"] == request.query.b', {"request.query": ["a", "b"]}),
        ('"a" in request.cookies || unit == "al"', {"request.cookies": ["a"], "unit": None}),
        ('request.cookies.a == "1" || request.cookies.exists(k, k == unit)', {"request.cookies": None, "unit": None}),
        ('request.headers["x-" + unit] == "a"', {"request.headers": None, "unit": None}),
        ('[client_ip, unit].exists(one, one == "a")', {"client_ip": None, "unit": None}),
        ('{"a": unit}["a"] == request.method', {"request.method": None, "unit": None}),
        ('claims["https://a.example/b"][0] == "a" ? trusted : false', {"claims": ["https://a.example/b"], "trusted": None}),
        ('attributes.country in ["NO", request.host]', {"attributes": ["country"], "request.host": None}),
    ],
)  # fmt: skip
def test_an_expression_is_asked_what_it_reads(text: str, reads: dict[str, list[str] | None]) -> None:
    assert check(text) == reads


def test_every_name_has_its_value() -> None:
    request = request_head(fields={b"x-a": b"1", b"cookie": b"c=2"}, path=b"/beta/x", query=b"q=3%20")
    request.client, request.trusted, request.unit = "192.0.2.1", True, b"al"
    request.claims, request.attributes = {b"roles": [b"a", b"b"]}, {b"country": b"NO"}
    for text in (
        'request.method == "GET"',
        'request.path == "/beta/x"',
        'request.headers["x-a"] == "1"',
        'request.cookies.c == "2"',
        'request.query.q == "3 "',
        'client_ip == "192.0.2.1"',
        "trusted",
        'unit == "al"',
        '"b" in claims.roles && !has(claims.plan)',
        'attributes.country == "NO"',
        "request.headers.all(name, name.size() > 0) && request.headers.size() == 3",
        'attributes.map(name, name) == ["country"]',
    ):
        assert evaluated(text, request) == (True, ""), text
    assert evaluated(f'request.host == "{request.host.decode()}"', request) == (True, "")


def test_what_is_not_there_is_an_error_and_no_match() -> None:
    for text in ('request.headers["x-a"] == "b"', '!(request.headers["x-a"] == "b")', 'claims.plan[0] == "pro"'):
        matched, trouble = evaluated(text)
        assert (matched, is_absence(trouble)) == (False, True), text
    assert holds('unit == "" && !("x-a" in request.headers) && !has(attributes.country)')


@pytest.mark.parametrize(
    "text",
    [
        "request.path.matches(request.query.p)",
        "matches(request.path, unit)",
        'unit.matches("^" + request.path)',
        '["a", "b"].exists(one, unit.matches(one))',
        '{"a": unit.matches(request.path)}["a"]',
    ],
)
def test_patterns_are_not_chosen_by_clients(text: str) -> None:
    with pytest.raises(ExpressionError, match="must be written out"):
        check(text)
    assert check('unit.matches("^a+$") && matches(unit, r"\\d")') == {"unit": None}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("int(unit) > 3", "cannot convert string to int"),
        ("1 / int(unit + '0') == 1", "divide by zero"),
        ('unit.matches("(")', "invalid regular expression"),
        (
            "request.headers.exists(a, request.headers.exists(b, request.headers.exists(c, a + b + c == '')))",
            "Iteration budget exceeded",
        ),
    ],
)
def test_other_errors_are_no_match_either_and_say_why(text: str, said: str) -> None:
    request = request_head(fields={b"x-%d" % number: b"v" for number in range(100)})
    request.unit = b""
    matched, trouble = evaluated(text, request)
    assert not matched
    assert said in trouble
    assert not is_absence(trouble)


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert holds('request.headers["x-a"] == "a\\uFFFD"', fields={b"x-a": b"a\xff"})


def test_only_so_many_steps_are_taken() -> None:
    names = {b"x-%d" % number: b"v" for number in range(100)}
    text = 'request.headers.exists(a, request.headers.exists(b, a + b == ""))'
    assert not evaluated(text, request_head(fields=dict(list(names.items())[:90])))[1]
    assert evaluated(text, request_head(fields=names))[1] == "Iteration budget exceeded"


def test_a_long_expression_and_a_deep_one_are_refused() -> None:
    with pytest.raises(ExpressionError, match=f"has {LONGEST + 1} characters"):
        check("true" + " " * (LONGEST - 3))
    with pytest.raises(ExpressionError, match="recursion limit"):
        check("(" * 200 + "true" + ")" * 200)


def test_result_must_be_true_or_false() -> None:
    for text in ("unit", "dyn(true)", "1", "null", "[true]"):
        with pytest.raises(ExpressionError, match="must come to true or false"):
            check(text)


def test_matcher_and_trace_agree() -> None:
    text = 'unit == "al"'
    one = compiled([{"cel": text, "reads": check(text)}])[text]
    request = request_head()
    for unit, expected in ((b"al", True), (b"bo", False)):
        request.unit = unit
        matcher = compile_matcher({"not": {"cel": text}}, {expression_key(text): one.matches})
        assert matcher(request) is not expected
        trace = trace_matcher({"cel": text}, request, {expression_key(text): {"evaluate": one.evaluate}})
        assert trace == {"matched": expected, "cel": text, "trouble": ""}


def test_expressions_of_a_spec_are_found_wherever_matchers_stand() -> None:
    texts = [f'unit == "{name}"' for name in ("a", "b", "c", "a")]
    specs = [{"cel": text, "reads": check(text)} for text in texts]
    spec = plan_spec(
        route_spec(rules=[{"label": "rules[0]", "where": {"any": [specs[1], {"not": specs[2]}]}, "version": "canary"}]),
        segments=[{"name": "s", "where": specs[0]}, {"name": "t", "where": {"all": [specs[3]]}}],
    )
    assert [one["cel"] for one in expressions_in([spec["segments"], spec["routes"]])] == [
        texts[i] for i in (0, 3, 1, 2)
    ]
    assert set(matchers_of(spec)) == set(texts)
    build_plan(spec, expressions=matchers_of(spec))
    with pytest.raises(KeyError):
        build_plan(spec)


def test_without_the_package_the_error_says_what_to_install(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proxy.settings.check_segments.available", lambda: False)
    monkeypatch.setitem(sys.modules, "cel_expr_python", None)
    file = tmp_path / "t.yaml"
    file.write_text(
        "listen: 127.0.0.1:1\nupstreams: {a: {endpoints: [http://127.0.0.1:1]}}\nsegments: {s: {cel: 'true'}}\n"
        "routes: [{name: r, versions: {v: {upstream: a}}, rules: [{segment: s, version: v}]}]\n"
    )
    with pytest.raises(SettingsError) as raised:
        load(file, {})
    assert [problem.line() for problem in raised.value.problems] == [
        f"{file}:3:16: segments.s.cel: wants cel-expr-python: pip install 'tidegate[cel]'"
    ]


def test_claims_of_expressions_are_kept_by_workers(tmp_path: Any) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(
        "listen: 127.0.0.1:1\nupstreams: {a: {endpoints: [http://127.0.0.1:1]}}\njwt: {jwks_url: 'https://a.example/'}\n"
        """segments: {s: {cel: '"pro" in claims.plan && has(claims.sub)'}}\n"""
        "routes: [{name: r, unit: [{header: u}], versions: {v: {upstream: a}}, rules: [{segment: s, version: v}]}]\n"
    )
    spec = load(file, {}).spec
    assert spec["jwt"]["claims"] == ["plan", "sub"]
    assert spec["routes"][0]["claimed"]
