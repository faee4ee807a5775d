"""Has one version more errors than the others? A test that may be looked at after every error.

Counted are errors: with units, the first error of each (that is what hashing units to versions deals evenly); without, every one.
With equal rates an error comes from the canary with probability w, its share. Against that stands a prior Beta(k w, k (1 - w)),
and the evidence is the ratio of the two (Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", 2022):

    two-sided   ln E = lnB(a + e_c, b + e_b) - lnB(a, b) - e_c ln w - e_b ln(1 - w),    a = k w, b = k (1 - w)
    one-sided   plus ln[1 - I_w(a + e_c, b + e_b)] - ln[1 - I_w(a, b)]: the prior is cut off where the canary is better

Where the rates are equal, E is a martingale that starts at 1: the chance that it ever reaches 1 / alpha is at most alpha (Ville),
however often one looks. A canary may be worse by `tolerated`: w becomes r w / (r w + 1 - w).

One k sees one size of difference: a large one soon with a small k, a small one with a large k. A mean of martingales is a
martingale, so the test averages several (as sample_ratio does). Weights that change begin a new stretch with a new E; the product
over stretches is a martingale again.

What it shows is a canary that is worse. A canary that is well must not be believed for want of evidence here: first errors
saturate, since who has erred once is not counted again. Promotion rests on log_ratio.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log, log1p
from typing import Final

from proxy.analysis.special import ln_beta, ln_incomplete_beta, ln_mean

CONCENTRATION: Final = 100.0
"""k of a single prior, as the literature has it: it expects the share of the errors to be off by a few percent."""
CONCENTRATIONS: Final[tuple[float, ...]] = (3.0, 30.0, 300.0)
"""What the test averages over. bench/RESULTS-judges.md shows what that gains beside k = 100 alone."""


def share_under(share: float, ratio: float) -> float:
    """The canary's share of the errors, where its rate is `ratio` times that of the others and its share of the traffic `share`.

    Raises ValueError for a share outside (0, 1) and a ratio that is not above 0.
    """
    if not 0.0 < share < 1.0 or not 0.0 < ratio < inf:
        raise ValueError("a share between 0 and 1, and a ratio above 0")
    return ratio * share / (ratio * share + 1.0 - share)


def ln_evidence(
    canary: int,
    others: int,
    share: float,
    *,
    tolerated: float = 1.0,
    concentration: float = CONCENTRATION,
    one_sided: bool = True,
) -> float:
    """ln E of so many errors of the canary and of the others, at a constant share of the traffic.

    Raises ValueError for counts below 0, a share outside (0, 1), and a ratio or concentration that is not above 0.
    """
    if canary < 0 or others < 0 or concentration <= 0.0:
        raise ValueError("counts of 0 and more, and a concentration above 0")
    expected = share_under(share, tolerated)
    if not canary and not others:
        return 0.0
    a, b = concentration * expected, concentration * (1.0 - expected)
    evidence = ln_beta(a + canary, b + others) - ln_beta(a, b) - canary * log(expected) - others * log1p(-expected)
    if one_sided:
        evidence += ln_incomplete_beta(expected, a + canary, b + others)[1] - _ln_prior_above(expected, a, b)
    return evidence


@lru_cache(maxsize=256)  # of the prior alone: the same for all counts of a stretch
def _ln_prior_above(expected: float, a: float, b: float) -> float:
    return ln_incomplete_beta(expected, a, b)[1]


@dataclass(frozen=True, slots=True)
class Stretch:
    """What was counted while the weights stood still: the canary's share of the traffic, its errors, those of the others."""

    share: float
    canary: int
    others: int


class ErrorRateTest:
    """Errors as they come, through any number of weights. It holds two numbers for what is past, and grows no further."""

    def __init__(
        self,
        *,
        tolerated: float = 1.0,
        concentrations: Sequence[float] = CONCENTRATIONS,
        one_sided: bool = True,
        past: Sequence[float] | None = None,
        highest: float = 0.0,
    ) -> None:
        """`past` and `highest` are what `state` gave, where a test goes on.

        Raises ValueError for a ratio or a concentration that is not above 0, and a past of other concentrations.
        """
        if not concentrations or min(concentrations) <= 0.0 or not 0.0 < tolerated < inf:
            raise ValueError("a tolerated ratio above 0, and concentrations above 0")
        if past is not None and len(past) != len(concentrations):
            raise ValueError("the past is that of other concentrations")
        self.tolerated: Final = tolerated
        self._concentrations: Final = tuple(concentrations)
        self._one_sided: Final = one_sided
        self._past = list(past) if past is not None else [0.0] * len(self._concentrations)
        self._highest = highest
        self._stretch: Stretch | None = None
        self._now = list(self._past)

    def observe(self, stretch: Stretch) -> None:
        """All that was counted since the weights became what they are. The same share again replaces, another one begins anew.

        Raises ValueError for a share outside (0, 1), and for counts that went back at the same share.
        """
        before = self._stretch
        if before is not None and before.share == stretch.share:
            if stretch.canary < before.canary or stretch.others < before.others:
                raise ValueError("counts do not go back")
            if stretch == before:
                return
        elif before is not None:
            self._past = self._now
        self._now = [
            past
            + ln_evidence(
                stretch.canary,
                stretch.others,
                stretch.share,
                tolerated=self.tolerated,
                concentration=one,
                one_sided=self._one_sided,
            )
            for past, one in zip(self._past, self._concentrations, strict=True)
        ]
        self._stretch = stretch
        self._highest = max(self._highest, self.ln_evidence)

    def turn(self) -> None:
        """What comes next is a new stretch, even at the same share: its counts begin at 0."""
        self._past = self._now
        self._stretch = None

    @property
    def ln_evidence(self) -> float:
        """ln E of everything, as of now."""
        return ln_mean(self._now)

    @property
    def p(self) -> float:
        """The running p-value, 1 / E where E was highest. It never rises."""
        return exp(-self._highest)

    def worse(self, alpha: float) -> bool:
        """Whether E has ever reached 1 / alpha. Of canaries that are not worse than tolerated, at most alpha get there."""
        return self._highest >= -log(alpha)

    def state(self) -> tuple[list[float], float]:
        """`past` and `highest` of a test that goes on from here with a new stretch."""
        return list(self._now), self._highest
