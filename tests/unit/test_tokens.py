import hashlib
import hmac
import json
import subprocess
import sys
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from proxy.core.bearer import TOKEN_OUTCOMES, VERIFIED
from proxy.tokens import ALGORITHMS, MAX_DOCUMENT, Verifier, claim_values, parse_keys, usable_keys
from tests.issuer import KINDS, NOW, jwk, key_set, private_key, token, token_spec


def verifier(*keys: dict[str, Any], **parts: Any) -> Verifier:
    return Verifier(token_spec(**parts), list(keys) or [jwk("P-256", "one")])


def outcome(checked: Verifier, signed: bytes, now: float = NOW) -> str:
    verdict = checked.check(signed, now)
    assert (verdict.claims is not None) is (verdict.outcome == VERIFIED)
    return TOKEN_OUTCOMES[verdict.outcome]


def part(value: Any) -> bytes:
    return urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=")


@pytest.mark.parametrize("algorithm", KINDS)
def test_token_is_verified_with_its_key(algorithm: str) -> None:
    checked = verifier(jwk(KINDS[algorithm], "one"), algorithms=list(ALGORITHMS))
    verdict = checked.check(token(algorithm, roles=["admin", "dev"]), NOW)
    assert verdict.outcome == VERIFIED
    assert verdict.claims == {b"sub": [b"alice"], b"roles": [b"admin", b"dev"]}
    assert verdict.until == NOW + 90


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"exp": NOW - 29}, "verified"),
        ({"exp": NOW - 30}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "tomorrow"}, "expired"),
        ({"exp": True}, "expired"),
        ({"exp": 10**400}, "expired"),
        ({"nbf": NOW + 30}, "verified"),
        ({"nbf": NOW + 31}, "not_yet"),
        ({"nbf": "soon"}, "malformed"),
        ({"iss": "https://evil.example.com"}, "issuer"),
        ({"iss": ["https://login.example.com"]}, "issuer"),
        ({"iss": None}, "issuer"),
        ({"aud": ["api", "shop"]}, "verified"),
        ({"aud": ["api"]}, "audience"),
        ({"aud": None}, "audience"),
        ({"aud": [["shop"], {}]}, "audience"),
    ],
    ids=repr,
)
def test_claims_about_the_token_itself_are_checked(claims: dict[str, Any], expected: str) -> None:
    assert outcome(verifier(), token(**claims)) == expected


def test_issuer_and_audience_that_nobody_asked_for_are_not_looked_at() -> None:
    assert outcome(verifier(issuers=[], audiences=[]), token(iss=None, aud="other")) == "verified"


def test_algorithm_that_is_not_allowed_is_refused_whatever_the_key() -> None:
    checked = verifier(jwk("RSA", "one"), algorithms=["ES256"])
    assert outcome(checked, token("RS256")) == "algorithm"


def test_token_without_signature_or_signed_with_the_public_key_as_a_secret_is_refused() -> None:
    checked = verifier(jwk("RSA", "one"))
    payload = token("RS256").split(b".")[1]
    public = private_key("RSA", 0).public_key()
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name in ("none", "None", "NONE", "HS256"):
        signed = part({"alg": name, "kid": "one"}) + b"." + payload
        assert outcome(checked, signed + b"." + part(hmac.digest(pem, signed, hashlib.sha256))) == "algorithm"
        assert outcome(checked, signed + b".") == "malformed"


def test_key_is_found_by_its_name_and_never_by_another() -> None:
    checked = verifier(jwk("P-256", "one"), jwk("P-256", "two", 2))
    assert outcome(checked, token(kid="two", number=2)) == "verified"
    assert outcome(checked, token(kid="one", number=2)) == "signature"
    assert outcome(checked, token(kid="three")) == "key"
    assert outcome(checked, token(kid=None, number=2)) == "verified"


def test_key_for_one_algorithm_verifies_no_other() -> None:
    checked = verifier(jwk("RSA", "one", alg="PS256"), algorithms=["RS256", "PS256"])
    assert outcome(checked, token("RS256")) == "key"
    assert outcome(checked, token("PS256")) == "verified"


@pytest.mark.parametrize(
    "broken",
    [
        b"", b".", b"..", b"a.b.c", b"a.b", b"a.b.c.d", b"\xff.\xff.\xff", b"e30.e30.e30",
        part([1]) + b".e30.AA", part({"alg": ["ES256"]}) + b".e30.AA", part({"alg": "ES256", "kid": 1}) + b".e30.AA",
        part({"alg": "ES256", "crit": ["exp"]}) + b".e30.AA", part({"alg": "ES256", "b64": False}) + b".e30.AA",
        part(b"[" * 6000) + b".e30.AA", part(b'{"alg":' + b"1" * 5000 + b"}") + b".e30.AA",
    ],
    ids=lambda one: repr(one[:24]),
)  # fmt: skip
def test_what_is_no_token_is_malformed(broken: bytes) -> None:
    assert outcome(verifier(), broken) == "malformed"


def test_token_has_one_text_only() -> None:
    signed = token()
    assert outcome(verifier(), signed + b"=") == "malformed"
    assert outcome(verifier(), signed.replace(b".", b"=.", 1)) == "malformed"
    assert outcome(verifier(), signed[:-1] + bytes([signed[-1] + 1])) in {"malformed", "signature"}


def test_large_token_is_not_even_read() -> None:
    assert outcome(verifier(), token(note="x" * 8192)) == "too_large"


def test_signed_payload_that_is_no_object_is_malformed() -> None:
    import jwt

    signed = jwt.PyJWS().encode(b"[1]", private_key("P-256", 0), algorithm="ES256", headers={"kid": "one"}).encode()
    assert outcome(verifier(), signed) == "malformed"


def test_values_of_claims() -> None:
    payload = {
        "sub": "å", "n": 7, "x": 1.5, "yes": True, "no": None, "map": {"a": 1}, "list": ["a", 2, None, {}, False], "empty": [],
        "https://example.com/plan": "pro", "realm": {"roles": ["dev"], "deep": {"er": "x"}}, "a.b": "flat", "a": {"b": "path"},
    }  # fmt: skip
    expected = {
        "sub": ["å"], "n": ["7"], "x": ["1.5"], "yes": ["true"], "no": [], "map": [], "map.a": ["1"], "none": [], "empty": [],
        "list": ["a", "2", "false"], "https://example.com/plan": ["pro"], "realm.roles": ["dev"], "realm.deep.er": ["x"],
        "realm.roles.0": [], "a.b": ["flat"],
    }  # fmt: skip
    assert {name: claim_values(payload, name) for name in expected} == {
        name: [one.encode() for one in values] for name, values in expected.items()
    }


def test_of_a_key_set_only_what_verifies_is_used_and_nothing_secret() -> None:
    secret = jwk("P-256", "one") | {"d": "c2VjcmV0", "use": "sig"}
    others = [
        jwk("RSA", "enc", use="enc"), jwk("weak", "weak"), {"kty": "oct", "k": "c2VjcmV0"}, {"kty": "RSA", "n": 1, "e": 2}, "key",
        jwk("P-256", "ops", key_ops=["sign"]), jwk("P-256", "odd", crv="P-999"),
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, jwk("RSA", "hmac", alg="HS256"),
    ]  # fmt: skip
    (used,) = usable_keys([secret, *others])
    assert used == {name: secret[name] for name in ("kty", "kid", "crv", "x", "y")}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<html>", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "is no key set"),
        (b'{"keys": {}}', "is no key set"),
        (b'{"keys": []}', "has no key that verifies"),
        (b" " * (MAX_DOCUMENT + 1), "is larger than 256 KiB"),
    ],
    ids=lambda one: repr(one[:12]),
)
def test_what_is_no_key_set_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_keys(data)


def test_too_many_keys_are_refused() -> None:
    with pytest.raises(ValueError, match="has 65 keys; at most 64"):
        parse_keys(key_set(*(jwk("P-256", str(number)) for number in range(65))))


def test_who_does_not_configure_tokens_does_not_pay_for_them() -> None:
    code = (
        "import sys, proxy.dataplane.worker, proxy.settings.loader; print({'jwt', 'cryptography'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
