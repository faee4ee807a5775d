"""Rollouts: from which version to which, in which steps, when, and what happens where it goes wrong."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.judging import MOST_TIMES, Metric
from proxy.settings.models.matchers import Period, TimeWindow
from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.models.telling import Notice, Webhook
from proxy.settings.problems import kind_of, shown
from proxy.settings.rates import Age, parse_age
from proxy.settings.scalars import (
    Duration,
    Percent,
    Reference,
    Short,
    Text,
    Zone,
    parse_percent,
    refuse,
)
from proxy.settings.zones import parse_zone

MOST_STEPS: Final = 500
_LONGEST_REVISION: Final = 128
_KINDS_OF_STEP: Final = ("weight", "ring", "shadow", "approve", "preview", "linear", "exponential")
_TAKES: Final[dict[str, tuple[str, ...]]] = {
    "weight": ("hold", "minimum", "maximum"),
    "ring": ("hold", "minimum", "maximum"),
    "shadow": ("hold", "minimum", "maximum"),
    "approve": (),
    "preview": ("hold",),
    "linear": ("every", "to", "minimum", "maximum"),
    "exponential": ("every", "start", "to", "minimum", "maximum"),
}
"""What each kind of step takes beside itself."""


def _parse_revision(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        # What was written is not known any more: of 1.10 only 1.1 is left.
        hint = "; put it in quotes, as it is meant: `1.10` and `1.1` are one number" if isinstance(value, float) else ""
        refuse(f"must be text or a whole number, not {kind_of(value)}{hint}")
    if not value or len(value) > _LONGEST_REVISION or not value.isprintable():
        refuse(f"must be 1 to {_LONGEST_REVISION} characters that can be seen, such as `v2.3.1`")
    return value


def _parse_wait(value: object) -> float:
    """Seconds of an age, or of `0s`."""
    return 0.0 if value == "0s" else parse_age(value)


def _parse_share(value: object) -> float:
    """A percentage above 0."""
    share = parse_percent(value)
    if share == 0:
        refuse("must be above 0")
    return share


Revision = Annotated[str, BeforeValidator(_parse_revision), WithJsonSchema({"type": ["string", "integer"]})]
Wait = Annotated[
    float,
    BeforeValidator(_parse_wait),
    WithJsonSchema(
        {"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)|.*\$\{.*)$", "examples": ["5m", "14d"]}
    ),
]
"""Seconds, 0 or more."""
Share = Annotated[
    float, BeforeValidator(_parse_share), WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 100})
]


class Minimum(Part):
    """What each of the compared versions must have had in a step before its gates may pass."""

    requests: int | None = option("Requests.", None, unit="count", shown="500", ge=0)
    units: int | None = option("Units.", None, unit="count", shown="0", ge=0)


def _expand_step(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        refuse(
            f"must be a weight in percent, or a map such as `{{weight: 5, hold: 10m}}`, `{{ring: beta}}`, `{{shadow: 10}}` or"
            f" `{{approve: true}}`, not {shown(value) if isinstance(value, str | bool) else kind_of(value)}"
        )
    return {"weight": value}


class Step(Part):
    """One step: a weight, a ring, copies, an approval; or a row of weights in short. A plain number is a weight."""

    weight: Percent | None = option("`to` gets this share of what `from` and `to` have together.", None, unit="percent")
    ring: Text | None = option("`to` is given to the route's `rings` up to this one.", None)
    shadow: Share | None = option(
        "No users yet: this share of the requests is copied to `to`, whose answers are thrown away.",
        None,
        unit="percent",
    )
    approve: Literal[True] | None = option("A person says that it may go on.", None)
    preview: Literal[True] | None = option(
        "No users yet: `to` serves who asks for it by `preview` or a rule, until `hold` is over.", None
    )
    linear: Share | None = option("A row of weights, each this much above the one before.", None, unit="percent")
    exponential: float | None = option(
        "A row of weights, each this many times the one before.", None, unit="factor", gt=1, le=100
    )
    hold: Wait | None = option("How long the step lasts at least.", None, unit="age", shown="the rollout's `hold`")
    minimum: Minimum | None = option("What the versions must have had.", None, shown="the rollout's `minimum`")
    maximum: Age | None = option(
        "Undecided after so long: `on_no_data`.", None, unit="age", shown="the rollout's `maximum`"
    )
    every: Wait | None = option(
        "`linear`, `exponential`: how long each weight lasts at least.", None, unit="age", shown="the rollout's `hold`"
    )
    start: Share | None = option(
        "`exponential`: the first weight.", None, unit="percent", shown="the next after the step before, or 1"
    )
    to: Share | None = option("`linear`, `exponential`: the last weight.", None, unit="percent", shown="100")

    @model_validator(mode="after")
    def _one_kind(self) -> "Step":
        given = [name for name in _KINDS_OF_STEP if getattr(self, name) is not None]
        words = ", ".join(f"`{name}`" for name in _KINDS_OF_STEP)
        if len(given) != 1:
            refuse(
                f"has {' and '.join(f'`{name}`' for name in given)}, but takes one of {words}"
                if given
                else f"needs one of {words}"
            )
        for name in ("hold", "minimum", "maximum", "every", "start", "to"):
            if getattr(self, name) is not None and name not in _TAKES[given[0]]:
                takes = ", ".join(f"`{one}`" for one in _TAKES[given[0]])
                refuse(f"a step with `{given[0]}` has no `{name}`; it takes {takes or 'nothing beside'}")
        return self

    @property
    def kind(self) -> str:
        """Which kind of step it is."""
        return next(name for name in _KINDS_OF_STEP if getattr(self, name) is not None)


def _expand_steps(value: Any) -> Any:
    return [value]


class Rollback(Part):
    """How the weights go back."""

    mode: Literal["instant", "gradual"] = option(
        "`instant`: at once. `gradual`: in pieces, so that versions that were scaled down are not run over.", "instant"
    )
    percent: Share | None = option("`gradual`: so much at a time, the first at once.", None, unit="percent", shown="20")
    every: Duration | None = option("`gradual`: so long between them.", None, unit="duration", shown="30s")

    @model_validator(mode="after")
    def _fits(self) -> "Rollback":
        given = [name for name in ("percent", "every") if getattr(self, name) is not None]
        if self.mode == "instant" and given:
            refuse(f"`{given[0]}` is of `mode: gradual`")
        return self


def _expand_rollback(value: Any) -> Any:
    if value not in ("instant", "gradual"):
        refuse(f"must be `instant`, `gradual` or `{{mode: gradual, percent: 20, every: 30s}}`, not {shown(value)}")
    return {"mode": value}


class Schedule(Part):
    """When steps may be taken. What runs goes on running, and gates and brake watch at any hour."""

    zone: Annotated[str, BeforeValidator(parse_zone), WithJsonSchema({"type": "string"})] = option(
        "The time zone of windows that name none, such as `Europe/Oslo`.", "UTC"
    )
    allow: list[TimeWindow] = option("Hours and days at which steps may be taken. Absent: always.", makes=list)
    freeze: list[Period] = option("Periods in which no step is taken, whatever `allow` says.", makes=list)
    below_rate: float | None = option(
        "No step while the route has more requests per second than this. Absent: at any rate.",
        None,
        unit="requests/s",
        gt=0,
    )


class Firebreak(Part):
    """One zone of many, and how long after the first it begins."""

    zone: Zone = option("The zone, as in the top-level `zone` of the proxies there.")
    after: Wait = option(
        "So long after its proxies have read the new revision they begin.", 0.0, unit="age", shown="0s"
    )


def _expand_firebreak(value: Any) -> Any:
    return {"zone": value}


class Brake(Part):
    """Severe errors of `to` are answered within seconds, whatever the gates say."""

    errors: float = option(
        "So many times the error share of `from` are not the brake's business.", 3.0, unit="factor", ge=1
    )
    window: Duration = duration_key("What is older is forgotten.", "10s")
    minimum: int = option("Requests of `to` in the window before it acts.", 20, unit="count", ge=1)


def _expand_brake(value: Any) -> Any:
    if not isinstance(value, bool):
        refuse(f"must be `true`, `false` or `{{errors: 3, window: 10s, minimum: 20}}`, not {shown(value)}")
    return {} if value else None


class Rollout(Part):
    """A version brought in by itself, step by step, as far as the evidence goes. A new `revision` starts it, with what stands here
    then; what is changed later counts from the next revision on.
    """

    revision: Revision = option("What is rolled out: a text or a whole number. A new one starts a new rollout.")
    kind: Literal["canary", "blue_green", "ab", "mirror_first"] = option(
        "`canary`: in steps. `blue_green`: a preview, then all at once. `ab`: a split of fixed length, decided at its end."
        " `mirror_first`: copies before any user.",
        "canary",
    )
    from_: Reference | None = option("The version that gives.", None, alias="from", shown="the route's default version")
    to: Reference | None = option("The version that takes.", None, shown="the only other one")
    baseline: Reference | None = option(
        "A fresh instance of the old version that gets as much as `to`, for a fair comparison. Absent: `from` is compared.",
        None,
    )
    steps: (
        Annotated[list[Annotated[Step, Short(dict, _expand_step, ("number",))]], Short(list, _expand_steps, "object")]
        | None
    ) = option(
        "Weights in percent, and other steps: `[1, 5, {ring: beta}, {approve: true}, 100]`. Or one row of weights:"
        " `{linear: 10, every: 5m}`, `{exponential: 2, start: 1, every: 5m}`.",
        None,
        shown="canary `[1, 5, 25, 50, 100]`, with `{shadow: 10}` before it for mirror_first; blue_green"
        " `[{preview: true}, 100]`; ab `[50, 100]`",
        min_length=1,
        max_length=MOST_STEPS,
    )
    hold: Wait | None = option(
        "How long each step lasts at least; with `ab`, the length of the test.",
        None,
        unit="age",
        shown="5m; **required** with ab",
    )
    minimum: Minimum = option("What each version must have had in a step.", makes=Minimum)
    maximum: Age | None = option(
        "A step that is undecided so long: `on_no_data`.",
        None,
        unit="age",
        shown="24h, or twice the step's `hold`; ab: at its end",
    )
    on_failure: Literal["rollback", "freeze", "pause"] = option(
        "What follows where a gate fails or the brake acts.", "rollback"
    )
    on_no_data: Literal["pause", "freeze", "rollback"] = option(
        "What follows where nothing can be decided: never a pass.", "pause"
    )
    rollback: Annotated[Rollback, Short(dict, _expand_rollback, "string")] = option(
        "How the weights go back: `instant`, `gradual`, or a map.", makes=Rollback, shown="instant"
    )
    fast_rollback: Wait | None = option(
        "So long after the last step the old version is kept at hand, while gates and brake still watch.",
        None,
        unit="age",
        shown="the rollout's `hold`; blue_green 30m",
    )
    schedule: Schedule | None = option("When steps may be taken. Absent: at any time.", None)
    zones: list[Annotated[Firebreak, Short(dict, _expand_firebreak, "string")]] = option(
        "Zones one after the other: names, or `{zone, after}`. This proxy's is the top-level `zone`.", makes=list
    )
    brake: Annotated[Brake | None, Short(dict, _expand_brake, "boolean")] = option(
        "The early brake: `true`, `false` or a map.", makes=Brake, shown="true"
    )
    alpha: float = option(
        "The chance that a version that is well is stopped, over all metrics, steps and looks.",
        1.0,
        unit="percent",
        gt=0,
        le=50,
    )
    beta: float = option("The chance that a version that is `harmful` is promoted.", 5.0, unit="percent", gt=0, le=50)
    metrics: list[Metric] | None = option(
        "What it is judged by. `[]`: nothing, so that steps go by time.",
        None,
        shown="errors (error_rate, critical) and latency (band)",
        max_length=50,
    )
    webhooks: list[Webhook] = option("Who is asked, or told, at its steps.", makes=list)
    notify: list[Notice] = option("Who is told of what happens.", makes=list)
    reports: Text = option(
        "Directory for the report of each abort, relative to the working directory.", "reports", min_length=1
    )

    @model_validator(mode="after")
    def _sense(self) -> "Rollout":
        names = [metric.name for metric in self.metrics or ()]
        for name in names:
            if names.count(name) > 1:
                refuse(f"two `metrics` are called `{name}`")
        times = {time for metric in self.metrics or () for time in metric.above or ()}
        if len(times) > MOST_TIMES:
            refuse(f"`metrics` have {len(times)} different times in `above`, but {MOST_TIMES} are the most")
        brought: dict[str, str] = {}
        for metric in self.metrics or ():
            if metric.event is not None and metric.field is not None:
                field = str(metric.field)
                if brought.setdefault(metric.event, field) != field:
                    refuse(
                        f"`metrics` take the event `{metric.event}` from two places, `{brought[metric.event]}` and `{field}`:"
                        " give one of them another name"
                    )
        zones = [one.zone for one in self.zones]
        for zone in zones:
            if zones.count(zone) > 1:
                refuse(f"`{zone}` is in `zones` twice")
        return self


__all__ = ["MOST_STEPS", "Brake", "Firebreak", "Minimum", "Rollback", "Rollout", "Schedule", "Step"]
