"""What has an end is told of before it comes. What is wrong otherwise is in mistakes/audience.txt."""

from pathlib import Path

import pytest

from proxy.settings.loader import Loader

END = 1_893_456_000.0  # 2030-01-01T00:00:00Z
FILE = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
secrets: {cookie: [abcdefghijklmnop]}
routes:
  - name: r
    unit: [{header: x-user}]
    versions: {v: {upstream: a, weight: 9}, w: {upstream: a, weight: 1, KILL}}
    rules: [{units: [ann], version: w, until: 2030-01-01T00:00:00Z}]
"""


def warnings(tmp_path: Path, now: float, kill: str = "kill: false") -> list[str]:
    file = tmp_path / "x.yaml"
    file.write_text(FILE.replace("KILL", kill))
    return [one.message for one in Loader(file, {}, lambda: now).load().warnings]


@pytest.mark.parametrize(
    ("before", "told"),
    [
        (3 * 86400.0 + 1, []),
        (3 * 86400.0, ["this rule is over soon, at 2030-01-01T00:00:00Z; from then on it is as if it were not there"]),
        (1.0, ["this rule is over soon, at 2030-01-01T00:00:00Z; from then on it is as if it were not there"]),
        (0.0, ["this rule is over since 2030-01-01T00:00:00Z: it is as if it were not there, and can go"]),
    ],
)
def test_an_end_is_told_three_days_before_it_comes_and_ever_after(
    tmp_path: Path, before: float, told: list[str]
) -> None:
    assert warnings(tmp_path, END - before) == told


def test_a_kill_that_is_over_is_none(tmp_path: Path) -> None:
    both = "kill: {until: 2030-01-01T00:00:00Z}}, x: {upstream: a, weight: 0"
    early = END - 10 * 86400
    assert warnings(tmp_path, early, both) == []
    of_default = "kill: {until: 2029-01-01T00:00:00Z}}"
    file = tmp_path / "y.yaml"
    file.write_text(FILE.replace("KILL", "kill: false").replace("weight: 9}", f"weight: 9, {of_default}"))
    told = [one.message for one in Loader(file, {}, lambda: early).load().warnings]
    assert [message.partition(":")[0] for message in told] == ["this kill is over since 2029-01-01T00"]
