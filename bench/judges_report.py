"""The tables of bench/RESULTS-judges.md: `python -m bench.judges_report bench/results-judges.json` makes them of the figures again."""

import json
import sys
from math import inf, isinf
from pathlib import Path
from typing import Any

from bench.contenders import LATENCY
from bench.simulated import RATIOS, SHIFTS

_DAY = 1440.0


def _minutes(cell: tuple[float, float]) -> str:
    """Median minutes, and what share was stopped at all where that is not all."""
    middle, share = cell
    stopped = "" if share >= 0.995 else f" ({share:.0%})"
    if isinf(middle) or middle > _DAY:
        return f"> 1 day{stopped}"
    return f"{middle:.1f}{stopped}" if middle < 10 else f"{middle:,.0f}{stopped}"


def sooner(ours: tuple[float, float], theirs: tuple[float, float]) -> bool | None:
    """Whether we stop sooner; where neither stops half of them, whether we stop more. None: no difference."""
    mine, other = ours[0], theirs[0]
    if isinf(mine) and isinf(other):
        return None if abs(ours[1] - theirs[1]) < 0.02 else ours[1] > theirs[1]
    return None if mine == other else mine < other


def _cells(found: dict[str, Any]) -> list[tuple[str, str, tuple[float, float], dict[str, tuple[float, float]]]]:
    """Every cell: its kind, its size, ours, and the others by name."""
    cells = []
    for kind, sizes in (("errors", RATIOS), ("latency", SHIFTS)):
        for size in sizes:
            others = {}
            for name, key in (("thresholds", "thresholds"), ("Kayenta", "kayenta")):
                tuned = found[key][kind]
                others[f"{name}, best setting"] = tuned["single"]["cells"][str(size)]
                others[f"{name}, best for this row"] = tuned["each"][str(size)]["cell"]
            cells.append((kind, f"{size:g}", found["ours"][f"{kind} {size:g}"][kind], others))
    return cells


def _beside(found: dict[str, Any]) -> list[str]:
    columns = [
        "thresholds, best setting",
        "thresholds, best for this row",
        "Kayenta, best setting",
        "Kayenta, best for this row",
    ]
    lines = [
        "| canary | Tidegate | " + " | ".join(columns) + " | Tidegate sooner? |",
        "|---|---:|" + "---:|" * len(columns) + "---|",
    ]
    for kind, size, ours, others in _cells(found):
        what = f"{size} x errors" if kind == "errors" else f"{size} x latency"
        lost = [name for name in columns if sooner(ours, others[name]) is False]
        even = [name for name in columns if sooner(ours, others[name]) is None]
        said = (
            "yes"
            if not lost and not even
            else "**no**: " + ", ".join(lost)
            if lost
            else "as soon as " + ", ".join(even)
        )
        lines.append(
            f"| {what} | {_minutes(ours)} | " + " | ".join(_minutes(others[name]) for name in columns) + f" | {said} |"
        )
    return lines


def _chosen(found: dict[str, Any]) -> list[str]:
    lines = []
    for key, name in (("thresholds", "thresholds"), ("kayenta", "Kayenta")):
        for kind in ("errors", "latency"):
            tuned = found[key][kind]
            lines.append(
                f"- {name}, {kind}: {tuned['single']['setting']}; threshold {tuned['single']['threshold']:.4g}; {tuned['tried']} settings tried"
            )
    return lines


def lost_cells(results: dict[str, Any]) -> list[str]:
    """Where somebody else stops sooner, at the same rate of false alarms."""
    lines = []
    for name, found in results["populations"].items():
        for kind, size, ours, others in _cells(found):
            for other, cell in others.items():
                if sooner(ours, cell) is False:
                    lines.append(f"- {name}, {size} x {kind}: {other} {_minutes(cell)}, Tidegate {_minutes(ours)}")
    return lines


def missed_cells(results: dict[str, Any]) -> list[str]:
    """Where somebody else stops more of the bad within the day, by two in a hundred and more, whoever is sooner in the median."""
    lines = []
    for name, found in results["populations"].items():
        for kind, size, ours, others in _cells(found):
            for other, cell in others.items():
                if cell[1] - ours[1] >= 0.02:
                    lines.append(f"- {name}, {size} x {kind}: {other} {cell[1]:.0%}, Tidegate {ours[1]:.0%}")
    return lines


def markdown(results: dict[str, Any], facts: dict[str, Any]) -> str:
    """The whole file."""
    sizes = facts["sizes"]
    lines = [
        "# How often judges are wrong, and how soon they are right",
        "",
        f"Made by `{facts['command']}` on {facts['date']} in {facts['cpu seconds']:,} s of CPU time ({facts['python']}); do not edit. What is simulated and",
        "how the others are tuned stands in [README.md](README.md); what the tests are, in [docs/statistics.md](../docs/statistics.md).",
        "",
        f"{sizes['sound']:,} simulated days without a difference for each kind of users, {sizes['bad']:,} for each size of difference ({sizes['harmful']:,} for the",
        "harmful ratio 2). Tidegate looks every 10 s: 8,640 times a day. Times are medians in minutes from the start; in brackets the share that",
        "was stopped within the day, where not all were.",
    ]  # fmt: skip
    for name, found in results["populations"].items():
        sound = found["sound"]
        lines += [
            "",
            f"## {name.capitalize()} users",
            "",
            f"{found['users']:,} users, {found['requests']:,.0f} requests a day, {found['share']:.0%} of the users at the canary, 1 % errors in the mean.",
            "",
            "### Wrong",
            "",
            "| what | measured | wanted |",
            "|---|---:|---:|",
            f"| sound canaries stopped for errors | {sound['errors']:.2%} | 1 % |",
            f"| of that by first errors, by the log ratio | {sound['first errors']:.2%}, {sound['log ratio']:.2%} | .5 % each |",
            f"| sound canaries stopped for latency | {sound['latency']:.2%} | 1 % |",
            f"| by the default metric of latency, `band` | {sound['band']:.2%} | 1 % |",
            f"| by `exceedance` alone, by `mean` alone | {sound['exceedance']:.2%}, {sound['mean']:.2%} | 1 % each |",
            f"| sound canaries stopped by the early brake | {sound['brake']:.2%} | .1 % |",
            f"| canaries with 2 x errors promoted before they are stopped | {found['harmful promoted']:.2%} | 5 % |",
            f"| the same by the ratio alone, at any time of the day | {found['harmful promoted by the ratio']:.2%} | 5 % |",
            f"| the same, if promotion rested on first errors | {found['harmful promoted by first errors']:.2%} | 5 % |",
            f"| sound canaries promoted within the day | {sound['promoted']:.1%} (median {_minutes((found['healthy promoted after'], 1.0))} min) | |",
            "",
            "As their users begin with them, the others stop so many of the sound canaries in a day:",
            "",
            *(f"- {judge}: {rate:.1%}" for judge, rate in found["as used"].items()),
            "",
            "### How soon, at equal false alarms",
            "",
            "Thresholds and Kayenta are tuned on the sound days to stop 1 % of them, too. *Best setting* is the one that does best over all",
            "rows; *best for this row* is another one for each, which nobody can have.",
            "",
            *_beside(found),
            "",
            *_chosen(found),
            "",
            "Tidegate's parts alone. For errors each has the half of alpha that it has in `error_rate`; for latency each has all of it.",
            "*Mean, 10 %* is `mean` with what it tolerates by default; *band* is the default metric of latency and tolerates 1.2 times. The mean",
            "of ln latency is not what a rollout has.",
            "",
            "| canary | first errors | log ratio | early brake |",
            "|---|---:|---:|---:|",
        ]  # fmt: skip
        for ratio in RATIOS:
            ours = found["ours"][f"errors {ratio:g}"]
            parts = " | ".join(_minutes(ours[one]) for one in ("first errors", "log ratio", "brake"))
            lines.append(f"| {ratio:g} x errors | {parts} |")
        lines += ["", "| canary | " + " | ".join(LATENCY) + " |", "|---|" + "---:|" * len(LATENCY)]
        for shift in SHIFTS:
            ours = found["ours"][f"latency {shift:g}"]
            lines.append(f"| {shift:g} x latency | " + " | ".join(_minutes(ours[one]) for one in LATENCY) + " |")
    lost = lost_cells(results)
    lines += ["", "## Where somebody else is sooner", ""]
    lines += lost or ["Nowhere."]
    alarms = [
        f"{found['sound']['errors']:.2%} for errors and {found['sound']['latency']:.2%} for latency ({name})"
        for name, found in results["populations"].items()
    ]
    lines += [
        "",
        "And where somebody else, at whatever time, stops more of the bad ones within the day:",
        "",
        *(missed_cells(results) or ["- nowhere"]),
        "",
        f"The others are tuned to stop exactly 1 % of the sound days. Tidegate is not tuned; it stopped {' and '.join(alarms)}.",
    ]
    lines += [
        "",
        "## Errors until abort",
        "",
        f"The test of error rates alone, a stream of errors without users or clock, alpha .01, one-sided; medians of {sizes['streams']} runs. *k = 100* is the",
        "single prior whose values were computed independently (*reference*), *Tidegate* the mean over several k, *best* what a test that knew",
        "the ratio would need on average.",
        "",
        "| share | ratio | reference | k = 100 | Tidegate | best |",
        "|---:|---:|---:|---:|---:|---:|",
        *(
            f"| {row['share']:g} | {row['ratio']:g} | {row['reference']:,} | {row['k100']:,.0f} | {row['ours']:,.0f} | {row['best']:,.0f} |"
            for row in results["streams"]
        ),
        "",
        f"Without a difference, of {sizes['sound']:,} streams of 2,000 errors, looked at after each error, so many are ever stopped:",
        "",
        "| share | k = 100 | Tidegate |",
        "|---:|---:|---:|",
        *(
            f"| {share} | {results['streams sound'][f'{share} k100']:.2%} | {results['streams sound'][f'{share} ours']:.2%} |"
            for share in ("0.01", "0.05", "0.5")
        ),
        "",
        "## Cost",
        "",
        "| what | measured | wanted |",
        "|---|---:|---:|",
        f"| a verdict over {results['verdict']['metrics']} metrics and {results['verdict']['units']:,} units, from the sums that are kept | {results['verdict']['milliseconds']:.1f} ms | < 20 ms |",
        f"| making one metric's sums of {results['verdict']['units']:,} units anew | {results['verdict']['milliseconds to sum up arrays']:.1f} ms | |",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def portable(value: Any) -> Any:
    """For JSON: what is infinite is null there."""
    if isinstance(value, dict):
        return {str(name): portable(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(one) for one in value]
    return None if isinstance(value, float) and isinf(value) else value


def read(text: str) -> dict[str, Any]:
    """The figures, from JSON."""

    def infinite(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: infinite(one) for name, one in value.items()}
        return [infinite(one) for one in value] if isinstance(value, list) else inf if value is None else value

    found: dict[str, Any] = infinite(json.loads(text))
    return found


if __name__ == "__main__":
    everything = read(Path(sys.argv[1]).read_text())
    print(markdown(everything, everything), end="")
