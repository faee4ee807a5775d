"""The early brake: is a version so much worse than the others that nobody should wait for a judge?

It sees integers alone: errors of the version, errors of the others, and the version's share of the traffic. With rates that
differ by `tolerated`, an error comes from the version with probability q = r w / (r w + 1 - w). Against that stand a few
ratios that are worse, each with its own probability t; the evidence of one is the likelihood ratio

    ln L = e_v ln(t / q) + e_o ln((1 - t) / (1 - q))

Where the version is no worse than tolerated, each L is a supermartingale that starts at 1, for t > q; so is their mean, and
the mean is at least the highest divided by their number. The brake is pulled where the highest reaches ln(number / alpha):
falsely, with a chance of at most alpha however often one looks (Ville). That is a few multiplications; the logarithms are
made once for a share.

Shares that change begin a new Odds, and what was gathered goes on: a product of such processes is one.
"""

from math import log, log1p
from typing import Final

TOLERATED: Final = 3.0
"""Times the errors of the others that are not the brake's business, but the judge's."""
WORSE: Final[tuple[float, ...]] = (2.0, 5.0, 20.0, 100.0)
"""How many times worse than tolerated. The last is a version that fails always, beside others that hardly do."""
ALPHA: Final = 0.001
"""The chance that a version that is no more than `tolerated` times worse is ever stopped."""


class Odds:
    """What an error of the version, and one of the others, says for each of WORSE, at one share of the traffic."""

    def __init__(self, share: float, tolerated: float = TOLERATED) -> None:
        """Raises ValueError for a share outside (0, 1) and a ratio that is not above 0."""
        if not 0.0 < share < 1.0 or tolerated <= 0.0:
            raise ValueError("a share between 0 and 1, and a tolerated ratio above 0")
        self.share: Final = share
        expected = tolerated * share / (tolerated * share + 1.0 - share)
        version: list[float] = []
        others: list[float] = []
        for times in WORSE:
            ratio = times * tolerated
            assumed = ratio * share / (ratio * share + 1.0 - share)
            version.append(log(assumed / expected))
            others.append(log1p(-assumed) - log1p(-expected))
        self.version: Final[list[float]] = version
        self.others: Final[list[float]] = others


class Brake:
    """What has been gathered against one version. It never grows."""

    def __init__(self, alpha: float = ALPHA) -> None:
        """Raises ValueError for alpha outside (0, 1)."""
        if not 0.0 < alpha < 1.0:
            raise ValueError("alpha between 0 and 1")
        self.limit: Final[float] = log(len(WORSE) / alpha)
        self.pulled: bool = False
        self._gathered: Final[list[float]] = [0.0] * len(WORSE)

    def add(self, odds: Odds, version: int, others: int) -> bool:
        """So many errors more of the version and of the others, since the last call. True once the brake is pulled, and from
        then on.

        Counts below 0 (a counter that was replaced) say nothing and are left out.
        """
        if version <= 0 and others <= 0:
            return self.pulled
        more = max(version, 0)
        less = max(others, 0)
        gathered = self._gathered
        for place in range(len(gathered)):
            reached = gathered[place] + more * odds.version[place] + less * odds.others[place]
            gathered[place] = reached
            if reached >= self.limit:
                self.pulled = True
        return self.pulled

    def evidence(self) -> float:
        """ln of the evidence as it stands, a lower bound of the mean's: at ln(1 / alpha) the brake is pulled."""
        return max(self._gathered) - log(len(WORSE))

    def release(self) -> None:
        """A new step: nothing is gathered."""
        self.pulled = False
        for place in range(len(self._gathered)):
            self._gathered[place] = 0.0
