"""An issuer of tokens for tests: keys, key sets, and tokens, good ones and others."""

import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import get_default_algorithms

NOW = 1_790_000_000.0


@cache
def private_key(kind: str, number: int = 0) -> Any:
    """A key; the same one whenever asked for with the same words."""
    if kind == "RSA":
        return rsa.generate_private_key(65537, 2048)
    if kind == "weak":
        return rsa.generate_private_key(65537, 1024)
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}[kind]())


KINDS = {
    "RS256": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}


def jwk(kind: str, kid: str | None = None, number: int = 0, **more: Any) -> dict[str, Any]:
    """The public key as a key set has it."""
    algorithm = next((name for name, one in KINDS.items() if one == kind), "RS256")
    public = json.loads(get_default_algorithms()[algorithm].to_jwk(private_key(kind, number).public_key()))
    public.pop("key_ops", None)
    return public | ({} if kid is None else {"kid": kid}) | more


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def token(algorithm: str = "ES256", kid: str | None = "one", number: int = 0, **claims: Any) -> bytes:
    """A token of these claims, good until a minute after NOW unless they say otherwise; None leaves one out."""
    payload = {"iss": "https://login.example.com", "aud": "shop", "sub": "alice", "exp": NOW + 60} | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    headers = {} if kid is None else {"kid": kid}
    signed = jwt.PyJWS().encode(
        json.dumps(payload).encode(), private_key(KINDS[algorithm], number), algorithm=algorithm, headers=headers
    )
    return signed.encode()


def token_spec(**parts: Any) -> dict[str, Any]:
    return {
        "source": "here",
        "file": "",
        "url": "",
        "keys": [],
        "refresh": 300.0,
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "issuers": ["https://login.example.com"],
        "audiences": ["shop"],
        "header": "authorization",
        "cookie": "",
        "leeway": 30.0,
        "claims": ["roles", "sub"],
    } | parts
