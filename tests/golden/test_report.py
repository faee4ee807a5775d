"""An incident in, a report out: the files in report/. `python -m tests.golden.test_report` writes them anew."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from proxy.rollout.report import Incident, Latency, files_of
from proxy.rollout.rollout import Rollout
from proxy.rollout.states import CauseKind, State
from proxy.rollout.track import Track

HERE = Path(__file__).with_name("report")
START = 1_790_000_000.0
MINUTE = 60.0

_WHY = "errors: 58 of 1164 requests of canary against 220 of 22116 of stable, 5.1 times as many; at most 1 time is tolerated"
_NUMBERS = {
    "verdict": "fail",
    "budget": {"alpha": 0.01, "beta": 0.05, "metrics": 2, "steps": 3},
    "metrics": [
        {
            "metric": "errors", "outcome": "fail", "reason": _WHY, "measure": "ratio", "effect": 5.1, "low": 2.9, "high": 8.8,
            "evidence": 11.2, "samples": [55, 1104], "unit": "units", "seconds": 0.0, "alpha": 0.005,
        },
        {
            "metric": "latency", "outcome": "insufficient", "reason": "latency: within 3.1 % of stable everywhere",
            "measure": "share", "effect": 0.031, "low": None, "high": None, "evidence": None, "samples": [1164, 22116],
            "unit": "requests", "seconds": 5400.0, "alpha": 0.005,
        },
    ],
}  # fmt: skip


def _plan() -> dict[str, object]:
    step = {"hold": 600.0, "minimum": {"requests": 500, "units": 0}, "maximum": 3600.0, "ring": None, "shadow": 0.0}
    return {
        "revision": "v2.3.1", "kind": "canary", "from": "stable", "to": "canary", "baseline": None,
        "steps": [{"weight": weight, "approve": False, "judged": True, **step} for weight in (1.0, 5.0, 25.0, 100.0)],
        "on_failure": "rollback", "on_no_data": "pause", "rollback": {"mode": "instant", "percent": 20.0, "every": 30.0},
        "metrics": [{"name": "errors", "judge": "error_rate"}, {"name": "latency", "judge": "band"}],
        "webhooks": [
            {
                "url": "http://me:word@127.0.0.1:8000/gate?token=abc", "when": "before_step", "veto": True, "secret": "key",
                "timeout": 5.0, "retries": 3,
            }
        ],
        "notify": [{"url": "https://hooks.example.com/services/T0/B0/abc", "format": "slack", "events": ["aborted"]}],
        "reports": "reports",
    }  # fmt: skip


def incident() -> Incident:
    """A canary with five times the errors, stopped in its second step."""
    track = Track()
    stable = canary = (0, 0)
    for tick in range(91):
        percent = 1.0 if tick < 60 else 5.0
        at = START + 10.0 * tick
        evidence = {"errors": 0.0 if tick < 60 else min(11.2, 0.4 * (tick - 60))}
        track.note(at, percent, {"stable": stable, "canary": canary}, evidence)
        stable = (stable[0] + 250 + tick % 7, stable[1] + 2 + tick % 2)
        canary = (canary[0] + (3 if tick < 60 else 13), canary[1] + (tick % 6 == 0 if tick < 60 else tick % 2))
    abort = START + 15 * MINUTE
    rollout = Rollout(
        route="shop", revision="v2.3.1", plan=_plan(), state=State.ABORTED, step=1, since=abort, started=START,
        began=START + 10 * MINUTE, sequence=4, bound={"stable": 100.0, "canary": 0.0}, weights={"stable": 100.0, "canary": 0.0},
        percent=0.0, cause=CauseKind.STEP_FAILED, reason=_WHY, numbers=_NUMBERS,
    )  # fmt: skip
    rows = (
        (START, "", "pending", -1, "created", "revision v2.3.1 is new"),
        (START, "pending", "progressing", 0, "begin", "the first step may be taken"),
        (START + 10 * MINUTE, "progressing", "progressing", 1, "step_passed", "held for 10m"),
        (abort, "progressing", "aborted", 1, "step_failed", _WHY),
    )
    names = ("at", "before", "after", "step", "cause", "reason")
    timeline = [dict(zip(names, row, strict=True)) | {"actor": "tidegate", "numbers": {}} for row in rows]
    edges = [0.001 * 1.5**power for power in range(16)]
    bell = [1, 3, 9, 30, 90, 180, 240, 200, 120, 70, 40, 24, 14, 8, 4, 2, 1]
    return Incident(
        rollout, abort, timeline, track, Latency(edges, {"stable": [20 * one for one in bell], "canary": bell}),
        {"stable": 1961, "canary": 104}, erred={"stable": 183, "canary": 31},
        samples=[{
            "request_id": "f3a1c0de5b1e4f6c9d2a7b8893d1e0aa", "at": abort - 21.0, "unit": "90f1c2d3e4a5b6c7", "version": "canary",
            "what": "first error of the unit",
        }],
    )  # fmt: skip


def test_an_incident_becomes_its_report() -> None:
    made = files_of(incident())
    assert {path.name: path.read_text() for path in HERE.iterdir()} == made


@pytest.mark.parametrize("path", sorted(HERE.glob("*.svg")), ids=lambda path: path.stem)
def test_plots_are_well_formed(path: Path) -> None:
    assert ET.fromstring(path.read_text()).tag == "{http://www.w3.org/2000/svg}svg"


def test_no_secret_is_in_a_report() -> None:
    whole = "".join(files_of(incident()).values())
    assert "hooks.example.com" in whole
    for secret in ("me:word", "token=abc", '"key"', "T0/B0", "/gate"):
        assert secret not in whole


def test_the_json_of_a_report_has_all_that_the_text_shows() -> None:
    value = json.loads(files_of(incident())["report.json"])
    assert value["affected"] == {"stable": 1961, "canary": 104}
    assert [one["cause"] for one in value["timeline"]] == ["created", "begin", "step_passed", "step_failed"]
    assert value["rollout"]["numbers"] == _NUMBERS
    assert len(value["course"]) == 91


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    for old in HERE.iterdir():
        old.unlink()
    for name, text in files_of(incident()).items():
        (HERE / name).write_text(text)
