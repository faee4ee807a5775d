"""Numbers as an engineer reads them in a verdict's reason."""

from math import exp

from proxy.analysis.clusters import Clusters


def percent(share: float) -> str:
    return f"{share * 100.0:.3g} %"


def times_in_words(p: float) -> str:
    """1 / p, as it is said."""
    if p <= 1e-12:
        return "a trillion times"
    often = 1.0 / p
    return f"{float(f'{often:.2g}'):,.0f} times"


def middle(sums: Clusters) -> str:
    return f"{exp(sums.ratio):.3g} s" if sums.units else "nothing yet"


def expected(seconds: float | None) -> str:
    if seconds is None:
        return "; nobody can say when that will be known"
    if seconds < 120.0:
        return f"; expected to be known in {seconds:.0f} s"
    return (
        f"; expected to be known in {seconds / 60.0:.0f} min"
        if seconds < 7200.0
        else f"; expected to be known in {seconds / 3600.0:.1f} h"
    )
