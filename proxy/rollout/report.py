"""The incident report of an aborted rollout: what a post-mortem begins with, written when it happens, by what was there.

A directory for each: `report.md` for people, `report.json` with the same and more for programs, and the plots as SVG. It appears
all at once: it is written under another name, and renamed. Its name is that of the transition, so that a control process that was
killed and starts again writes no second one. The newest KEPT stay; other files in the directory are left alone.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import exp, log
from pathlib import Path
from typing import Any, Final

from proxy.rollout.plots import Chart, Line, Mark, draw
from proxy.rollout.redacting import without_secrets
from proxy.rollout.report_text import as_markdown
from proxy.rollout.rollout import Rollout
from proxy.rollout.telling import ABORTED, facts_of, finite, headline, verdicts_of
from proxy.rollout.track import Moment, Track

KEPT: Final = 100
"""Reports kept of all routes; the oldest go."""
TIMELINE: Final = 1000
"""Transitions of a report at most; of more the first and the newest."""
SAMPLES: Final = 50
"""Requests named in a report at most."""
ENOUGH: Final = 100
"""Requests of a point of the plot of errors at least: of fewer the share jumps."""
EVIDENCE_AT_MOST: Final = 200.0
"""ln E that is drawn; more is as certain."""

_NAME: Final = re.compile(r"\d{8}T\d{6}Z-[\w.-]+-\d+")

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Latency:
    """Histograms of the compared versions: counts by version, one more than there are edges (seconds); the last is open."""

    edges: Sequence[float]
    counts: dict[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class Incident:
    """What is known of an abort.

    `timeline`: records of the journal, oldest first, as plain values (at, before, after, step, cause, actor, reason, numbers).
    `affected`: by version, how many units were exposed since the rollout began; None where nobody recorded it, and `recorded`
    says why. `erred`: by version, the units whose first error was there. `samples`: requests by id, as plain values
    (request_id, at, unit, version, what).
    """

    rollout: Rollout
    at: float
    timeline: Sequence[Spec]
    track: Track = field(default_factory=Track)
    latency: Latency | None = None
    affected: dict[str, int] | None = None
    recorded: str = ""
    erred: Mapping[str, int] = field(default_factory=dict)
    samples: Sequence[Spec] = ()


class ReportError(Exception):
    """The report could not be written; the message says where and why."""


def write(incident: Incident, directory: Path) -> Path:
    """Write the report into `directory`, which is made, and give its own. One that is there already is left as it is.

    Raises ReportError.
    """
    name = name_of(incident.rollout)
    place = directory / name
    try:
        if place.is_dir():
            return place
        directory.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
        draft = directory / f".{name}.draft"
        draft.mkdir()
        for file, text in files_of(incident).items():
            _write(draft / file, text)
        draft.rename(place)
        _forget(directory)
    except OSError as error:
        raise ReportError(f"the report {place} cannot be written: {error.strerror or error}") from error
    return place


def name_of(rollout: Rollout) -> str:
    """`20261121T193000Z-shop-v2-7`: when, which, and the number of the transition."""
    when = datetime.fromtimestamp(rollout.since, UTC).strftime("%Y%m%dT%H%M%SZ")
    route, revision = (re.sub(r"[^A-Za-z0-9._]+", "-", one)[:48] or "-" for one in (rollout.route, rollout.revision))
    return f"{when}-{route}-{revision}-{rollout.sequence}"


def files_of(incident: Incident) -> dict[str, str]:
    """The files of a report by name."""
    value = as_value(incident)
    plots = {f"{name}.svg": draw(chart) for name, chart in charts(incident).items()}
    value["plots"] = list(plots)
    return {
        "report.md": as_markdown(value),
        "report.json": json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        **plots,
    }


def as_value(incident: Incident) -> Spec:
    """All that is known, as plain JSON, without secrets."""
    rollout, moments = incident.rollout, incident.track.moments
    facts = facts_of(rollout, incident.at)
    timeline = list(incident.timeline)
    if len(timeline) > TIMELINE:
        timeline = [*timeline[: TIMELINE // 2], *timeline[-TIMELINE // 2 :]]
    value: Spec = {
        "headline": headline(ABORTED, facts),
        "rollout": facts,
        "timeline": timeline,
        "transitions": len(incident.timeline),
        "plan": without_secrets(rollout.plan),
        "traffic": _traffic(moments),
        "observed_since": moments[0].at if moments else None,
        "affected": incident.affected,
        "not_recorded": incident.recorded,
        "erred": dict(incident.erred),
        "samples": list(incident.samples)[:SAMPLES],
        "course": incident.track.values(),
    }
    checked: Spec = finite(value)
    return checked


def _traffic(moments: Sequence[Moment]) -> list[Spec]:
    """What each version has had while it was observed."""
    if not moments:
        return []
    first, last = moments[0].counts, moments[-1].counts
    rows = []
    for name, (requests, errors) in last.items():
        was, had = first.get(name, (0, 0))
        more, wrong = max(0, requests - was), max(0, errors - had)
        rows.append({"version": name, "requests": more, "errors": wrong, "share": wrong / more if more else None})
    return rows


def charts(incident: Incident) -> dict[str, Chart]:
    """The plots by name; those of which nothing is known are left out."""
    rollout, moments = incident.rollout, incident.track.moments
    found: dict[str, Chart] = {}
    which = f"{rollout.route} {rollout.revision}"
    if moments:
        start = moments[0].at
        end = Mark(incident.at - start, "aborted", across=False)
        names = [name for name in dict.fromkeys(rollout.arms) if name is not None]
        found["errors"] = Chart(
            f"Errors by version: {which}", "time", "errors, %",
            [Line(name, error_percents(moments, name)) for name in names], [end], seconds=True,
        )  # fmt: skip
        found["weights"] = Chart(
            f"Share of {rollout.arms[1]}: {which}", "time", "share, %",
            [Line(rollout.arms[1], [(one.at - start, one.percent) for one in moments], steps=True)], [end], seconds=True,
        )  # fmt: skip
        metrics = list(dict.fromkeys(name for one in moments for name in one.evidence))
        if metrics:
            found["evidence"] = Chart(
                f"Evidence against {rollout.arms[1]}: {which}", "time", "E (1: none)",
                [Line(name, _evidence(moments, name)) for name in metrics], [end, *_limits(rollout)],
                seconds=True, log_y=True,
            )  # fmt: skip
    if incident.latency is not None:
        found["latency"] = Chart(
            f"Latency by version: {which}", "seconds", "slower than that, %",
            [Line(name, exceeding(incident.latency.edges, counts)) for name, counts in incident.latency.counts.items()],
            log_x=True,
        )  # fmt: skip
    return found


def error_percents(moments: Sequence[Moment], name: str, least: int = ENOUGH) -> list[tuple[float, float]]:
    """(seconds since the first point, percent of errors since the one before), a point each `least` requests and one at the end."""
    points: list[tuple[float, float]] = []
    was, had = moments[0].counts.get(name, (0, 0)) if moments else (0, 0)
    for one in moments:
        requests, errors = one.counts.get(name, (was, had))
        if requests - was < least and (one is not moments[-1] or requests <= was):
            continue
        points.append((one.at - moments[0].at, 100.0 * max(0, errors - had) / (requests - was)))
        was, had = requests, errors
    return points


def _evidence(moments: Sequence[Moment], name: str) -> list[tuple[float, float]]:
    return [
        (one.at - moments[0].at, exp(min(max(one.evidence[name], -EVIDENCE_AT_MOST), EVIDENCE_AT_MOST)))
        for one in moments
        if name in one.evidence
    ]


def _limits(rollout: Rollout) -> list[Mark]:
    """The evidence at which a metric fails, where the verdict says at which alpha it judges: half of that is for first events."""
    alphas = {
        one["alpha"] / 2.0
        for one in verdicts_of(rollout.numbers)
        if one.get("alpha") and one.get("evidence") is not None
    }
    return [Mark(exp(min(-log(alpha), EVIDENCE_AT_MOST)), f"fails at 1 / {alpha:.2g}") for alpha in sorted(alphas)]


def exceeding(edges: Sequence[float], counts: Sequence[int]) -> list[tuple[float, float]]:
    """(seconds, percent of samples above them) at each edge; none without samples."""
    total = sum(counts)
    points: list[tuple[float, float]] = []
    left = total
    for edge, count in zip(edges, counts, strict=False):
        left -= count
        if total:
            points.append((edge, 100.0 * left / total))
    return points


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="replace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sweep(directory: Path) -> None:
    """Drafts of a process that did not get to the end."""
    for one in directory.glob(".*.draft"):
        if _NAME.fullmatch(one.name[1 : -len(".draft")]):
            shutil.rmtree(one)


def _forget(directory: Path) -> None:
    """The oldest of too many."""
    found = sorted(one for one in directory.iterdir() if _NAME.fullmatch(one.name) and one.is_dir())
    for one in found[:-KEPT]:
        shutil.rmtree(one)
