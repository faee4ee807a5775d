"""The report of an incident as Markdown: the draft of a post-mortem, with room for what only people know."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from proxy.rollout.plots import short_time
from proxy.rollout.telling import in_words, number_lines, verdicts_of

Spec = dict[str, Any]

_VERDICTS: Final = ("metric", "outcome", "effect", "interval", "samples", "evidence", "reason")
_PLOTS: Final = {
    "errors.svg": "Errors by version over time",
    "weights.svg": "The share of the new version over time",
    "evidence.svg": "Evidence against the new version over time",
    "latency.svg": "Latency by version",
}


def as_markdown(value: Mapping[str, Any]) -> str:
    """The text of what report.as_value gives, with its `plots`."""
    facts = value["rollout"]
    took = short_time(max(0.0, facts["at"] - facts["started"]))
    parts = [
        f"# {_text(facts['route'])} {_text(facts['revision'])} was aborted",
        f"{_text(value['headline'])}.",
        f"By {_text(facts['actor'])}, at {_when(facts['at'])}, {took} after the rollout began ({_when(facts['started'])}).",
        "## Impact",
        _impact(value),
        "## Verdict",
        _verdict(facts["numbers"]),
        "## Course",
        *[f"![{_PLOTS.get(name, name)}]({name})" for name in value["plots"]],
        _timeline(value),
        "## Requests to look at",
        _samples(value["samples"]),
        "## Configuration",
        _weights(facts),
        "The plan as it was when the rollout began, secrets left out:",
        f"```json\n{_plan(value['plan'])}\n```",
        "## To be added by people",
        "- What was wrong with the version:\n- Why it was not found earlier:\n- What will be done, by whom, until when:",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _impact(value: Mapping[str, Any]) -> str:
    facts, affected = value["rollout"], value["affected"]
    parts = []
    new = f"`{_code(facts['to'])}`"
    if affected is None:
        parts.append(f"How many units were given {new} is not known: {_text(value['not_recorded'])}.")
    else:
        count = affected.get(facts["to"], 0)
        units = "1 unit was" if count == 1 else f"{in_words(count)} units were"
        parts.append(f"**{units} given {new}** since the rollout began, by the record of exposures.")
    if value["erred"]:
        each = ", ".join(f"{in_words(count)} at `{_code(name)}`" for name, count in value["erred"].items())
        parts.append(f"Units that met their first error, by where: {each}.")
    if value["traffic"]:
        rows = [
            (f"`{_code(one['version'])}`", in_words(one["requests"]), in_words(one["errors"]), _percent(one["share"]))
            for one in value["traffic"]
        ]
        parts += [
            f"What the versions have had since {_when(value['observed_since'])}:",
            _table(("version", "requests", "errors", "share"), rows),
        ]
    return "\n\n".join(parts)


def _verdict(numbers: Mapping[str, Any]) -> str:
    verdicts = verdicts_of(numbers)
    rest = {key: one for key, one in numbers.items() if key != "metrics" or not verdicts}
    parts = []
    if verdicts:
        parts.append(_table(_VERDICTS, [_verdict_row(one) for one in verdicts]))
    lines = number_lines(rest)
    if lines:
        parts.append(_table(("number", "value"), [(_text(name), _text(text)) for name, text in lines]))
    return "\n\n".join(parts) or "No numbers: it was not a judge who stopped it."


def _verdict_row(one: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = one.get("low"), one.get("high")
    samples = one.get("samples") or ()
    return (
        _text(one.get("metric", "")),
        _text(one["outcome"]),
        _text(f"{in_words(one.get('effect'))} {one.get('measure', '')}".strip()),
        "-" if low is None and high is None else f"{in_words(low)} to {in_words(high)}",
        _text(f"{', '.join(in_words(count) for count in samples)} {one.get('unit', '')}".strip()),
        "-" if one.get("evidence") is None else f"ln E {in_words(one['evidence'])}",
        _text(one.get("reason", "")),
    )


def _timeline(value: Mapping[str, Any]) -> str:
    rows = [
        (
            _when(one["at"]),
            " to ".join(f"`{_code(state)}`" for state in (one["before"], one["after"]) if state),
            str(one["step"] + 1) if one["step"] >= 0 else "-",
            f"`{_code(one['cause'])}`",
            _text(one["actor"]),
            _text(one["reason"]),
        )
        for one in value["timeline"]
    ]
    table = _table(("when", "state", "step", "cause", "by", "why"), rows)
    left_out = value["transitions"] - len(value["timeline"])
    return f"{table}\n\n{left_out} transitions in the middle are left out." if left_out else table


def _samples(samples: Sequence[Mapping[str, Any]]) -> str:
    if not samples:
        return "None is known by its id. With `exposure: true` on the route, the first request of each unit is."
    rows = [
        (
            f"`{_code(str(one['request_id']))}`",
            _when(one["at"]),
            f"`{_code(str(one['unit']))}`",
            f"`{_code(str(one['version']))}`",
            _text(one.get("what", "")),
        )
        for one in samples
    ]
    return _table(("request id", "when", "unit", "version", "what"), rows)


def _weights(facts: Mapping[str, Any]) -> str:
    """Of the file and in effect, side by side."""
    names = dict.fromkeys((*facts["file_weights"], *facts["weights"]))
    rows = [
        (f"`{_code(name)}`", in_words(facts["file_weights"].get(name)), in_words(facts["weights"].get(name)))
        for name in names
    ]
    return _table(("version", "weight in the file", "in effect now"), rows)


def _plan(plan: Mapping[str, Any]) -> str:
    """JSON with a line for each key, and for each step, metric and hook."""
    lines = []
    for key, one in plan.items():
        if isinstance(one, list) and any(isinstance(each, dict) for each in one):
            rows = ",\n".join(f"    {json.dumps(each, ensure_ascii=False)}" for each in one)
            lines.append(f"  {json.dumps(key)}: [\n{rows}\n  ]")
        else:
            lines.append(f"  {json.dumps(key)}: {json.dumps(one, ensure_ascii=False)}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{in_words(100.0 * share)} %"


def _text(words: Any) -> str:
    """For a cell or a line of Markdown: what others wrote makes no table, tag, link or heading of its own."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in str(words)).split())
    for mark in "\\`*_[]|":
        plain = plain.replace(mark, f"\\{mark}")
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _code(words: str) -> str:
    """Within backticks."""
    return "".join(c if c.isprintable() and c not in "`|" else "?" for c in words)
