"""Laws of expressions: what is left out of a request is what the expression does not read, and nothing raises."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.request import Request
from proxy.expressions import LISTS, MAPS, SWITCHES, TEXTS, Expression, ExpressionError, check
from tests.specs import request_head

NAMES = ("a", "b-c", "d")
keys = st.sampled_from(NAMES)
maps = st.sampled_from(MAPS)
texts = st.one_of(
    st.sampled_from([*TEXTS, '""', '"x"', '"a"']),
    st.builds(lambda one, key: f'{one}["{key}"]', maps, keys),
    st.builds(lambda one: f'{one}["a" + ""]', maps),
    st.builds(lambda key: f'claims["{key}"][0]', keys),
)
conditions = st.recursive(
    st.one_of(
        st.sampled_from([*SWITCHES, "true", "has(attributes.a)", "has(claims.d)"]),
        st.builds(lambda one, other: f"{one} == {other}", texts, texts),
        st.builds(lambda key, one: f'"{key}" in {one}', keys, st.sampled_from([*MAPS, *LISTS])),
        st.builds(lambda one, text: f"{one}.exists(k, k == {text})", maps, texts),
        st.builds(lambda one, key, text: f'[{one}["{key}"], unit].all(v, v != {text})', maps, keys, texts),
        st.builds(lambda text: f"int({text}) > 1", texts),
    ),
    lambda inner: st.one_of(
        st.builds(lambda one, other: f"({one} && {other})", inner, inner),
        st.builds(lambda one, other: f"({one} || {other})", inner, inner),
        st.builds(lambda one, other, third: f"({one} ? {other} : {third})", inner, inner, inner),
        st.builds(lambda one: f"!({one})", inner),
    ),
    max_leaves=4,
)
values = st.sampled_from([b"", b"a", b"x", b"7", b"\xff"])
entries = st.dictionaries(st.sampled_from([name.encode() for name in NAMES]), values)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    request = request_head(
        fields=draw(entries) | {b"cookie": b"; ".join(b"%b=%b" % pair for pair in draw(entries).items())},
        query=b"&".join(b"%b=%b" % pair for pair in draw(entries).items()),
    )
    request.unit = draw(st.none() | values)
    request.trusted = draw(st.booleans())
    request.attributes = draw(st.none() | entries)
    request.claims = draw(st.none() | entries.map(lambda some: {key: [value] for key, value in some.items()}))
    return request


@given(conditions, requests())
def test_only_what_is_read_is_made_and_that_is_enough(text: str, request: Request) -> None:
    reads = check(text)
    everything: dict[str, list[str] | None] = dict.fromkeys((*TEXTS, *MAPS, *SWITCHES)) | {"claims": list(NAMES)}
    assert Expression(text, reads).evaluate(request) == Expression(text, everything).evaluate(request)


@given(st.text(max_size=30), requests())
def test_anything_is_an_expression_or_an_error_with_words(text: str, request: Request) -> None:
    reads, said = {}, ""
    try:
        reads = check(text)
    except ExpressionError as error:
        said = str(error) or "nothing"
    assert said != "nothing"
    if not said:
        Expression(text, reads).evaluate(request)
