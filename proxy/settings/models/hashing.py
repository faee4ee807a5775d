"""`hash`: whose arithmetic deals the units, with what that system hashes beside the unit, in its own words."""

from typing import Any, Final, Literal

from pydantic import model_validator

from proxy.settings.models.part import Part, option
from proxy.settings.problems import shown, suggestion
from proxy.settings.scalars import Text, refuse

Spec = dict[str, Any]

TIDEGATE: Final = "tidegate"
TAKES: Final[dict[str, tuple[str, ...]]] = {
    TIDEGATE: (),
    "flagd-v1": ("key", "cat"),
    "flagd-v2": ("key", "cat"),
    "flagd-v3": ("key", "cat"),
    "unleash": ("group", "variants", "total"),
    "split": ("seed",),
    "optimizely": ("experiment",),
    "launchdarkly": ("key", "salt", "seed"),
    "growthbook": ("key", "hash_version"),
}
"""What each family takes beside its name."""
_WANTS: Final[dict[str, str]] = {
    "split": "needs `seed`, the one of the Split definition",
    "optimizely": "needs `experiment`, the id of the experiment or rollout rule",
    "launchdarkly": "needs `salt`, the one of the flag, or `seed`, the one of the experiment or rollout",
}
_INT32: Final = 2**31


class Hash(Part):
    """Whose hash deals the units: another system's, so that its SDK in an application agrees with the proxy."""

    family: Literal[
        "tidegate",
        "flagd-v1",
        "flagd-v2",
        "flagd-v3",
        "unleash",
        "split",
        "optimizely",
        "launchdarkly",
        "growthbook",
    ] = option("The system.")
    key: Text | None = option(
        "flagd, LaunchDarkly: the flag's key. GrowthBook: the experiment's key, or its seed where it has one.",
        None,
        shown="the route's salt",
    )
    cat: Text | None = option(
        "flagd: the text that the flag's `fractional` puts before the targeting key with `cat`; empty where it takes the"
        " targeting key alone. Absent: it takes the flag's key and the targeting key, flagd's shorthand.",
        None,
    )
    group: Text | None = option("Unleash: the strategy's `groupId`.", None, shown="the route's salt")
    variants: bool | None = option(
        "Unleash: deal as its variants are dealt, not as its gradual rollout is.", None, shown="false"
    )
    total: int | None = option(
        "Unleash, with `variants`: what the variants' weights add up to there.",
        None,
        unit="count",
        shown="1000",
        ge=1,
        le=1_000_000,
    )
    seed: int | None = option(
        "Split: the definition's seed. LaunchDarkly: the seed of an experiment or rollout that has one.",
        None,
        ge=-_INT32,
        le=_INT32 - 1,
    )
    experiment: Text | None = option("Optimizely: the id of the experiment or rollout rule.", None, min_length=1)
    salt: Text | None = option("LaunchDarkly: the flag's salt.", None, min_length=1)
    hash_version: int | None = option(
        "GrowthBook: the experiment's `hashVersion`, 1 or 2.", None, shown="2", ge=1, le=2
    )

    @model_validator(mode="after")
    def _fits(self) -> "Hash":
        takes = TAKES[self.family]
        known = dict.fromkeys(name for names in TAKES.values() for name in names)
        given = [name for name in known if getattr(self, name) is not None]
        for name in given:
            if name not in takes:
                words = ", ".join(f"`{one}`" for one in takes)
                refuse(f"`{self.family}` has no `{name}`; it takes {words or 'nothing'}")
        if self.family in _WANTS and not {"seed", "experiment", "salt"}.intersection(given):
            refuse(f"`{self.family}` {_WANTS[self.family]}")
        if "seed" in given and "salt" in takes and len(given) > 1:
            refuse("a `seed` stands in the place of `key` and `salt`: leave them out")
        if "cat" in given and "key" in given:
            refuse("`cat` stands in the place of `key`: leave one of them out")
        if self.total is not None and not self.variants:
            refuse("`total` is that of variants: say `variants: true`, too")
        return self


def expand_hash(value: Any) -> Any:
    """The map that a family's name stands for."""
    if not isinstance(value, str) or value not in TAKES:
        names = ", ".join(f"`{name}`" for name in TAKES)
        hint = suggestion(value, TAKES) if isinstance(value, str) else ""
        hint = hint if "did you mean" in hint else ""
        refuse(f"must be one of {names}, or a map with a `family`, not {shown(value)}{hint}")
    return {"family": value}


def hash_spec(one: Hash | None, salt: str) -> Spec | None:
    """The spec of a family; None where Tidegate deals itself. What a family needs and was not told is the route's salt."""
    if one is None or one.family == TIDEGATE:
        return None
    # A text that something else stands in the place of is empty, so that the route's salt does not matter there.
    replaced = one.cat is not None or (one.family == "launchdarkly" and one.seed is not None)
    defaults = {"key": "" if replaced else salt, "group": salt, "variants": False, "total": 1000, "hash_version": 2}
    spec: Spec = {"family": one.family}
    for name in TAKES[one.family]:
        value = getattr(one, name)
        spec[name] = defaults.get(name) if value is None else value
    return spec
