"""Summaries and sample ratios as plain values, the same for the API and the command line."""

from math import exp, isfinite
from typing import Any

from proxy.analysis.sample_ratio import ALARM
from proxy.exposure.queries import VersionSummary
from proxy.exposure.ratios import Ratio

Spec = dict[str, Any]


def version_values(one: VersionSummary) -> Spec:
    """What a version has had."""
    return {
        "route": one.route,
        "version": one.version,
        "units": one.units,
        "first_assignments": one.first_assignments,
        "records": one.records,
        "robots": one.robots,
        "first": one.first,
        "last": one.last,
        "reasons": dict(one.reasons or {}),
    }


def ratio_values(one: Ratio) -> Spec:
    """A test of a split. An infinite Bayes factor is null, for JSON has none; `mismatch` says what follows."""
    factor = one.log_bayes_factor
    return {
        "route": one.route,
        "segment": one.segment,
        "source": one.source,
        "weights": one.weights,
        "epoch": one.epoch,
        "since": one.since,
        "counts": one.counts,
        "log_bayes_factor": factor if isfinite(factor) else None,
        "alarm_at": round(exp(ALARM)),
        "mismatch": one.mismatch,
    }
