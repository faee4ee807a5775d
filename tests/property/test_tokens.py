"""Laws of tokens: what was changed in any way is believed by nobody, and nothing that comes raises."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.bearer import VERIFIED
from proxy.tokens import ALGORITHMS, Verifier
from tests.issuer import KINDS, NOW, jwk, token, token_spec

SIGNED = {name: token(name, kid=kind) for name, kind in KINDS.items()}
KEYS = [jwk(kind, kind) for kind in sorted(set(KINDS.values()))]
CHECKED = Verifier(token_spec(algorithms=list(ALGORITHMS)), KEYS)


@pytest.mark.parametrize("algorithm", KINDS)
def test_the_token_itself_is_believed(algorithm: str) -> None:
    assert CHECKED.check(SIGNED[algorithm], NOW).outcome == VERIFIED


@given(st.sampled_from(sorted(SIGNED)), st.data())
@settings(max_examples=400, deadline=None)
def test_token_with_any_bit_flipped_is_not_believed(algorithm: str, data: st.DataObject) -> None:
    signed = bytearray(SIGNED[algorithm])
    bit = data.draw(st.integers(0, len(signed) * 8 - 1))
    signed[bit // 8] ^= 1 << bit % 8
    assert CHECKED.check(bytes(signed), NOW).outcome != VERIFIED


@given(st.sampled_from(sorted(SIGNED)), st.data())
@settings(max_examples=300, deadline=None)
def test_token_of_which_something_is_missing_added_or_replaced_is_not_believed(
    algorithm: str, data: st.DataObject
) -> None:
    signed = SIGNED[algorithm]
    start = data.draw(st.integers(0, len(signed)))
    end = data.draw(st.integers(start, len(signed)))
    changed = signed[:start] + data.draw(st.binary(max_size=20)) + signed[end:]
    assert (CHECKED.check(changed, NOW).outcome == VERIFIED) is (changed == signed)


@given(
    st.sampled_from(sorted(SIGNED)), st.sampled_from([*ALGORITHMS, "none", "HS256", "HS512", "rs256", ""]), st.data()
)
@settings(max_examples=300, deadline=None)
def test_token_with_another_algorithm_or_key_in_its_head_is_not_believed(
    algorithm: str, other: str, data: st.DataObject
) -> None:
    head, payload, signature = SIGNED[algorithm].split(b".")
    header = json.loads(urlsafe_b64decode(head + b"=="))
    header["alg"] = other
    header["kid"] = data.draw(st.sampled_from([*KINDS.values(), None, "", "nobody's"]))
    swapped = b".".join((urlsafe_b64encode(json.dumps(header).encode()).rstrip(b"="), payload, signature))
    assert (CHECKED.check(swapped, NOW).outcome == VERIFIED) is (swapped == SIGNED[algorithm])


@given(st.binary(max_size=300) | st.text(alphabet="eyJ.AQ_-", max_size=60).map(str.encode), st.floats(0, 4e9))
@settings(max_examples=300, deadline=None)
def test_nothing_that_comes_raises_or_is_believed(junk: bytes, now: float) -> None:
    verdict = CHECKED.check(junk, now)
    assert verdict.outcome != VERIFIED
    assert verdict.claims is None
