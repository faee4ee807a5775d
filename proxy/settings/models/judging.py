"""What a rollout is judged by: each metric names its judge, and gives what that judge wants to know."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.part import Part, option
from proxy.settings.problems import kind_of, shown, suggestion
from proxy.settings.rates import Age
from proxy.settings.scalars import (
    Duration,
    HeaderName,
    Name,
    Number,
    Percent,
    Reference,
    Text,
    parse_duration,
    refuse,
)
from proxy.settings.urls import WebUrl

JUDGES: Final = (
    "error_rate", "exceedance", "band", "mean", "proportion", "mann_whitney", "threshold", "burn_rate", "sample_ratio",
)  # fmt: skip
TAKES: Final[dict[str, tuple[str, ...]]] = {
    "error_rate": ("tolerate", "harmful", "negligible"),
    "exceedance": ("above", "tolerate", "harmful", "negligible"),
    "band": ("tolerate",),
    "mean": ("of", "event", "field", "direction", "tolerate"),
    "proportion": ("event", "field", "direction", "tolerate"),
    "mann_whitney": ("of", "direction", "tolerate", "compat"),
    "threshold": ("of", "query", "prometheus", "at_most", "at_least", "intervals", "failures", "version"),
    "burn_rate": ("objective", "window", "at_most", "version"),
    "sample_ratio": (),
}
"""Which of a metric's keys each judge takes."""
QUANTITIES: Final[dict[str, tuple[str, ...]]] = {
    "mean": ("response_bytes", "latency"),
    "mann_whitney": ("latency", "response_bytes", "error_percent"),
    "threshold": (
        "error_percent", "latency_mean", "latency_p50", "latency_p90", "latency_p99", "requests_per_second", "in_flight",
        "saturation_percent", "response_bytes",
    ),
}  # fmt: skip
"""What `of` may be, by judge. `saturation_percent`: requests at once, of all routes, of the upstream's `limits.requests`."""
TOLERATED: Final[dict[str, float]] = {
    "error_rate": 1.0, "exceedance": 1.0, "band": 1.2, "mean": 0.1, "proportion": 0.02, "mann_whitney": 0.1,
}  # fmt: skip
HARMFUL: Final = 2.0
NEGLIGIBLE: Final = 1.0
"""Percent of the units."""
MOST_INTERVALS: Final = 60
"""Of a threshold: ten minutes of points."""
BURN_RATE: Final = 14.4
"""What is burnt in an hour of a budget of 30 days is then 2 % of it (The Site Reliability Workbook, 2018, chapter 5)."""
WINDOW: Final = 30 * 86_400.0
MOST_TIMES: Final = 8
"""Times above which answers count as slow, in one rollout."""
_RATIOS: Final = ("error_rate", "exceedance", "band")


def _parse_limit(value: object) -> float | str:
    """A number, or a duration as it is written: which of the two it must be depends on `of`."""
    if isinstance(value, str):
        try:
            parse_duration(value)
        except ValueError:
            refuse(f"must be a number, or a duration such as `500ms`, not {shown(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(f"must be a number or a duration, not {kind_of(value)}")
    return float(value)


Limit = Annotated[
    float | str,
    BeforeValidator(_parse_limit),
    WithJsonSchema({"type": ["number", "string"], "examples": [1, "500ms"]}),
]


class Metric(Part):
    """What counts, who judges it, and what a judgement of it means for the rollout."""

    name: Name = option("Its name, in verdicts, metrics and reports.")
    judge: Literal[
        "error_rate",
        "exceedance",
        "band",
        "mean",
        "proportion",
        "mann_whitney",
        "threshold",
        "burn_rate",
        "sample_ratio",
    ] = option(
        "`error_rate`: errors. `exceedance`: answers slower than `above`. `band`: the whole distribution of latency. `mean`:"
        " sizes, latency or values of events. `proportion`: units with an event. `mann_whitney`: ranks. `threshold`: a"
        " number against a limit. `burn_rate`: the error budget of an objective. `sample_ratio`: whether the split is the one"
        " that was asked for."
    )
    weight: Literal["critical", "normal", "watch"] = option(
        "`critical` fails the step by itself; `normal` counts; `watch` is shown and decides nothing.", "normal"
    )
    tolerate: Number | None = option(
        "How much worse may be. `error_rate`, `exceedance`: times as many. `band`: times as long. `mean`: a share of the"
        " other's mean. `proportion`: a difference of the shares. `mann_whitney`: a share of the other's median.",
        None,
        shown="`1.0`, band `1.2`, mean and mann_whitney `0.1`, proportion `0.02`",
        unit="factor",
    )
    harmful: Number | None = option(
        "`error_rate`, `exceedance`: times as many that must not be promoted.", None, shown="2.0", unit="factor"
    )
    negligible: Percent | None = option(
        "`error_rate`, `exceedance`: so many more units, of all, with an error or a slow answer let it pass even where the ratio"
        " cannot be told. 0: the ratio alone.",
        None,
        shown="1",
        unit="percent",
    )
    above: list[Duration] | None = option(
        "`exceedance`: an answer that takes longer is slow; several are averaged.", None, min_length=1, unit="duration"
    )
    of: Text | None = option(
        "`mean`: response_bytes, latency. `mann_whitney`: latency, response_bytes, error_percent. `threshold`: error_percent,"
        " latency_mean, latency_p50, latency_p90, latency_p99, requests_per_second, in_flight, saturation_percent,"
        " response_bytes.",
        None,
    )
    event: Name | None = option("`mean`, `proportion`: events of this name, from `POST /api/v1/events`.", None)
    field: HeaderName | None = option(
        "`mean`, `proportion`: the event comes in this field of answers, with its value.", None
    )
    direction: Literal["higher", "lower", "same"] | None = option(
        "`mean`, `proportion`, `mann_whitney`: which is good. `same`: neither more nor less.",
        None,
        shown="`higher` of events, `lower` of latency and errors, `same` of bytes",
    )
    compat: Literal["kayenta"] | None = option("`mann_whitney`: exactly as Kayenta's NetflixACAJudge does it.", None)
    query: Text | None = option("`threshold`: a query of Prometheus; its one number counts.", None, min_length=1)
    prometheus: WebUrl | None = option("`threshold`: where to ask it, such as `http://127.0.0.1:9090`.", None)
    at_most: Limit | None = option(
        "`threshold`: more fails; latency as a duration. `burn_rate`: times as fast as the objective allows.",
        None,
        shown="burn_rate `14.4`",
    )
    at_least: Limit | None = option("`threshold`: less fails.", None)
    intervals: int | None = option(
        "`threshold`: points of 10 s, or answers of the query, that are looked at: the newest ones.",
        None,
        shown="1",
        unit="count",
        ge=1,
        le=MOST_INTERVALS,
    )
    failures: int | None = option(
        "`threshold`: of them so many beyond the limit fail.", None, shown="all `intervals`", unit="count", ge=1
    )
    version: Reference | None = option("`threshold` and `burn_rate`: whose.", None, shown="`to`")
    objective: Percent | None = option("`burn_rate`: percent of requests without an error.", None, unit="percent")
    window: Age | None = option("`burn_rate`: the time the objective is for.", None, shown="30d", unit="age")

    @model_validator(mode="after")
    def _fits(self) -> "Metric":
        takes = TAKES[self.judge]
        for name in (name for name in KEYS if getattr(self, name) is not None):
            if name not in takes:
                words = ", ".join(f"`{one}`" for one in takes)
                refuse(f"`{self.judge}` has no `{name}`; it takes {words or 'nothing'}")
        if self.of is not None and self.of not in QUANTITIES[self.judge]:
            refuse(
                f"`of` is nothing that `{self.judge}` knows: {shown(self.of)}"
                + suggestion(self.of, QUANTITIES[self.judge], "it knows")
            )
        _CHECKS.get(self.judge, _nothing)(self)
        if self.tolerate is not None and self.judge in _RATIOS and self.tolerate < 1:
            refuse(f"`tolerate` is how many times as much may be, 1 or more, not {self.tolerate:g}")
        if self.tolerate is not None and self.judge not in _RATIOS and not 0 <= self.tolerate < 1:
            refuse(f"`tolerate` is a share, from 0 to below 1, not {self.tolerate:g}")
        if "harmful" in takes and self.harm <= self.tolerated:
            refuse(f"`harmful` ({self.harm:g}) must be above `tolerate` ({self.tolerated:g})")
        return self

    @property
    def tolerated(self) -> float:
        """`tolerate`, or what the judge takes without it."""
        return TOLERATED[self.judge] if self.tolerate is None else float(self.tolerate)

    @property
    def harm(self) -> float:
        """`harmful`, or what the judge takes without it."""
        return HARMFUL if self.harmful is None else float(self.harmful)

    @property
    def good(self) -> str:
        """Which is good: higher, lower or same."""
        if self.direction is not None:
            return self.direction
        if self.event is not None or self.field is not None:
            return "higher"
        return "same" if self.of == "response_bytes" else "lower"


KEYS: Final = tuple(name for name in Metric.model_fields if name not in {"name", "judge", "weight"})


def _nothing(_: Metric) -> None:
    return


def _exceedance(metric: Metric) -> None:
    if metric.above is None:
        refuse("`exceedance` needs `above`: the times beyond which an answer is slow, such as `[250ms, 1s]`")


def _mean(metric: Metric) -> None:
    given = [name for name in ("of", "event") if getattr(metric, name) is not None]
    if len(given) != 1:
        refuse("`mean` takes one of `of` and `event`" if given else "`mean` needs `of` or `event`")
    _field(metric)


def _proportion(metric: Metric) -> None:
    if metric.event is None:
        refuse("`proportion` needs `event`: the name of what units do")
    _field(metric)


def _field(metric: Metric) -> None:
    if metric.field is not None and metric.event is None:
        refuse("`field` is where an `event` comes from: give its name, too")


def _ranks(metric: Metric) -> None:
    if metric.of is None:
        refuse("`mann_whitney` needs `of`" + suggestion("", QUANTITIES["mann_whitney"], "it knows"))


def _threshold(metric: Metric) -> None:
    if (metric.of is None) == (metric.query is None):
        refuse("`threshold` takes one of `of` and `query`" if metric.of else "`threshold` needs `of` or `query`")
    if metric.query is not None and metric.prometheus is None:
        refuse("`query` needs `prometheus`: where to ask it, such as `http://127.0.0.1:9090`")
    if metric.query is None and metric.prometheus is not None:
        refuse("`prometheus` is where a `query` is asked; there is none")
    if metric.query is not None and metric.version is not None:
        refuse("a `query` says itself what it is about: leave `version` out")
    if metric.at_most is None and metric.at_least is None:
        refuse("`threshold` needs `at_most` or `at_least`")
    if metric.failures is not None and metric.failures > (metric.intervals or 1):
        refuse(f"`failures` ({metric.failures}) are of `intervals` ({metric.intervals or 1}), and cannot be more")
    timed = metric.of is not None and metric.of.startswith("latency")
    for name in ("at_most", "at_least"):
        limit = getattr(metric, name)
        if limit is not None and isinstance(limit, str) != timed:
            wants = "a duration such as `500ms`" if timed else "a number"
            refuse(f"`{name}` of `{metric.of or 'query'}` must be {wants}, not {shown(limit)}")
    low, high = limit_of(metric.at_least), limit_of(metric.at_most)
    if low is not None and high is not None and low > high:
        refuse("`at_least` must not be above `at_most`")


def _burn_rate(metric: Metric) -> None:
    if metric.objective is None:
        refuse("`burn_rate` needs `objective`: percent of requests without an error, such as 99.9")
    if not 0 < metric.objective < 100:
        refuse(f"`objective` must be above 0 and below 100, not {metric.objective:g}")
    if isinstance(metric.at_most, str) or (metric.at_most is not None and metric.at_most <= 0):
        refuse("`at_most` of `burn_rate` must be a number above 0")


_CHECKS: Final = {
    "exceedance": _exceedance,
    "mean": _mean,
    "proportion": _proportion,
    "mann_whitney": _ranks,
    "threshold": _threshold,
    "burn_rate": _burn_rate,
}


def limit_of(limit: float | str | None) -> float | None:
    """A limit as a number: seconds, where it is a duration."""
    return parse_duration(limit) if isinstance(limit, str) else limit


def default_metrics() -> list[Metric]:
    """What counts where nobody says: errors, and latency."""
    return [
        Metric(name="errors", judge="error_rate", weight="critical"),
        Metric(name="latency", judge="band"),
    ]


def metric_spec(metric: Metric, to: str) -> dict[str, Any]:
    """One metric of the plan, with all that its judge takes. `to` is the version it is about, where it names none."""
    spec: dict[str, Any] = {"name": metric.name, "judge": metric.judge, "weight": metric.weight}
    for key in TAKES[metric.judge]:
        spec[key] = _value(metric, key, to)
    return spec


def _value(metric: Metric, key: str, to: str) -> Any:
    if key == "tolerate":
        return metric.tolerated
    if key == "harmful":
        return metric.harm
    if key == "negligible":
        return round((NEGLIGIBLE if metric.negligible is None else float(metric.negligible)) / 100.0, 12)
    if key == "intervals":
        return metric.intervals or 1
    if key == "failures":
        return metric.failures or metric.intervals or 1
    if key == "direction":
        return metric.good
    if key == "version":
        return None if metric.query is not None else metric.version or to
    if key == "window":
        return WINDOW if metric.window is None else metric.window
    if key == "at_most" and metric.judge == "burn_rate" and metric.at_most is None:
        return BURN_RATE
    if key in {"at_most", "at_least"}:
        return limit_of(getattr(metric, key))
    value = getattr(metric, key)
    return list(value) if isinstance(value, list) else value


__all__ = ["JUDGES", "MOST_TIMES", "QUANTITIES", "TAKES", "Metric", "default_metrics", "metric_spec"]
