"""The spec of `jwt`, and which claims the rest of a configuration looks at: workers keep those and no others."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.models.flags import Ofrep
from proxy.settings.models.tokens import Jwt
from proxy.tokens import usable_keys

Spec = dict[str, Any]
Claims = frozenset[str]


def tokens_spec(jwt: Jwt | None, claims: Claims, certificates: CertificateReader) -> Spec | None:
    """The spec of checked settings. `source` names what the keys come from; keys in the configuration stand in `keys`."""
    if jwt is None:
        return None
    file = certificates.path(jwt.jwks_file) if jwt.jwks_file is not None else ""
    keys = usable_keys(jwt.keys) if jwt.keys is not None else []
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "source": file or jwt.jwks_url or f"keys {digest}",
        "file": file,
        "url": jwt.jwks_url or "",
        "keys": keys,
        "refresh": jwt.refresh,
        "algorithms": list(jwt.algorithms),
        "issuers": list(jwt.issuer),
        "audiences": list(jwt.audience),
        "header": "" if jwt.cookie is not None else jwt.header or "authorization",
        "cookie": jwt.cookie or "",
        "leeway": jwt.leeway,
        "claims": sorted(claims),
    }


def claims_known(ofrep: Ofrep | None) -> Claims:
    """The claims that the port of flags takes attributes from."""
    return frozenset(one.claim for one in ofrep.known.values() if one.claim is not None) if ofrep else frozenset()


def claims_in(spec: Any, segments: Mapping[str, Claims]) -> Claims:
    """The claims that units and matchers anywhere in this part of a spec look at; `segments` says so of those it names."""
    if isinstance(spec, list):
        return frozenset[str]().union(*(claims_in(one, segments) for one in spec if isinstance(one, dict | list)))
    if "cel" in spec:
        return frozenset(spec["reads"].get("claims", ()))
    if spec.get("source") == "claim" or spec.get("kind") == "claim":
        return frozenset((spec["name"],))
    named = [spec.get("segment"), *spec.get("order", ())]  # of a matcher, and of rings
    found = frozenset[str]().union(*(segments.get(one, ()) for one in named if isinstance(one, str)))
    return found.union(*(claims_in(one, segments) for one in spec.values() if isinstance(one, dict | list)))
