"""The weights of a step, on top of the file's: `from` gives, `to` and `baseline` take, other versions keep theirs.

A step's number is the share of `to` in what the three have together. From step to step the ratio of `to` to each of the others
grows, and that of `from` to `baseline` never does. With weighted rendezvous (core/hashing.py) a unit therefore goes from `from` to
`baseline` to `to` and never back. Between two versions that is all there is; a version beside them that keeps its weight is passed
through on the way by a few, each once.
"""

from collections.abc import Mapping
from typing import Final

WHOLE: Final = 100.0


def pool_of(bound: Mapping[str, float], arms: tuple[str, str, str | None]) -> float:
    """The weight that the versions of a rollout have together in the file; 100 where they have none and nobody else has."""
    return sum(bound.get(name, 0.0) for name in arms if name is not None) or WHOLE


def step_weights(bound: Mapping[str, float], arms: tuple[str, str, str | None], percent: float) -> dict[str, float]:
    """The weights where `to` has `percent` of what `from`, `to` and `baseline` have together in `bound`, the file's weights.

    The baseline gets as much as `to`, but never more than `from` keeps. Raises ValueError for a percentage that is none.
    """
    if not 0.0 <= percent <= WHOLE:
        raise ValueError(f"a percentage from 0 to 100, not {percent}")
    old, new, baseline = arms
    pool = pool_of(bound, arms)
    weights = dict(bound)
    weights[new] = pool if percent == WHOLE else pool * percent / WHOLE
    left = pool - weights[new]
    if baseline is not None:
        weights[baseline] = min(weights[new], left / 2)
        left -= weights[baseline]
    weights[old] = left
    return weights


def percent_of(weights: Mapping[str, float], arms: tuple[str, str, str | None]) -> float:
    """The share of `to` in what the three have together, in percent; 0 where they have none."""
    pool = sum(weights.get(name, 0.0) for name in arms if name is not None)
    return weights.get(arms[1], 0.0) / pool * WHOLE if pool else 0.0
