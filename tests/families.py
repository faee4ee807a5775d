"""Hash families for tests, one of each, as their specs."""

from typing import Any

from proxy.core.hash_families import FamilyDealer

Spec = dict[str, Any]

FLAGD_V1: Spec = {"family": "flagd-v1", "key": "checkout", "cat": None}
FLAGD_V2: Spec = {"family": "flagd-v2", "key": "checkout", "cat": None}
FLAGD_V3: Spec = {"family": "flagd-v3", "key": "checkout", "cat": None}
UNLEASH: Spec = {"family": "unleash", "group": "checkout", "variants": False, "total": 1000}
VARIANTS: Spec = UNLEASH | {"variants": True}
SPLIT: Spec = {"family": "split", "seed": -1364119282}
OPTIMIZELY: Spec = {"family": "optimizely", "experiment": "11564051718"}
LAUNCHDARKLY: Spec = {"family": "launchdarkly", "key": "checkout", "salt": "5f1c", "seed": None}
GROWTHBOOK: Spec = {"family": "growthbook", "key": "checkout", "hash_version": 2}

SPECS = [FLAGD_V1, FLAGD_V2, FLAGD_V3, UNLEASH, VARIANTS, SPLIT, OPTIMIZELY, LAUNCHDARKLY, GROWTHBOOK]


def dealer(spec: Spec, weights: list[float], salt: str = "shop") -> FamilyDealer:
    """A dealer of versions v0, v1, ... with these weights."""
    return FamilyDealer(spec, salt, "split", [(index, f"v{index}", weight) for index, weight in enumerate(weights)])
