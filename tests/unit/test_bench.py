"""The bench's own arithmetic and words; what it measures is measured by running it."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench import audience, compare, report, rollouts, segments, tables, verdicts
from bench.apart import found_by, page
from bench.cases import CASES, Figures, median
from bench.load import LoadError, parse
from bench.peers import (
    GUARDED,
    LOGGED,
    PEERS,
    PLAIN,
    ROUTED,
    ROUTES,
    RULED,
    TWO,
    WORKS,
    Interpreted,
    Peer,
    Ports,
    Work,
    tidegate_file,
)
from bench.place import Place, Row
from bench.process import Program, cost, family, memory
from bench.wanted import Results
from proxy.form import compiled
from proxy.rollout.gates import Gates
from proxy.settings.loader import Loaded, load

PORTS = Ports(18001, 18002, 18003, 18004, 18005)
ONE = Figures(20.0, 5.0, 15.0, 50_000.0, 900.0, 2000.0, 20_000_000, 15_000_000, 0.97, 0, 100_000)


def test_result_of_the_load_is_read() -> None:
    line = (
        'RESULT {"requests":10,"microseconds":2000000,"bytes":100,"connect":1,"read":0,"write":0,"status":2,"timeout":0,'
        '"p50":1.0,"p90":2.0,"p99":3.0,"p999":4.0,"max":5.0}'
    )
    outcome = parse(f"Running 2s test\n{line}\n")
    assert (outcome.requests, outcome.seconds, outcome.failed, outcome.p99) == (10, 2.0, 3, 3.0)


def test_a_load_that_printed_no_result_is_an_error() -> None:
    with pytest.raises(LoadError, match="unable to connect"):
        parse("unable to connect to 127.0.0.1:1")


def test_ratio_is_made_within_a_round() -> None:
    ours = [replace(ONE, cpu=cpu, round=turn) for turn, cpu in enumerate((40.0, 90.0, 60.0))]
    theirs = [replace(ONE, cpu=cpu, round=turn) for turn, cpu in enumerate((20.0, 30.0, 60.0))]
    results = {"small": {"tidegate": ours, "nginx": theirs}}
    assert tables.ratio(results, "small", "tidegate", "cpu") == 2.0
    assert tables.ratio(results, "mirror", "tidegate", "cpu") is None


def test_what_a_mirror_adds_is_a_multiple_of_the_cost_without() -> None:
    results: Results = {"small": {"a": [ONE], "b": [ONE]}, "mirror": {"a": [replace(ONE, cpu=30.0)]}}
    assert tables.added_by_mirror(results, "a") == 0.5
    assert tables.added_by_mirror(results, "b") is None


def test_failures_are_added_up_and_other_figures_are_medians() -> None:
    middle = median([replace(ONE, failed=1, rate=1.0), replace(ONE, failed=2, rate=3.0), replace(ONE, rate=2.0)])
    assert (middle["failed"], middle["rate"], middle["copies"]) == (3, 2.0, None)


def test_block_between_the_marks_is_replaced() -> None:
    before = f"a\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\nz\n"
    after = report.put_between_marks(before, "new")
    assert after == f"a\n{report.MARKS[0]}\nnew\n{report.MARKS[1]}\nz\n"
    assert report.put_between_marks(after, "new") == after
    with pytest.raises(ValueError, match="bench:begin"):
        report.put_between_marks("nothing", "new")


def test_readme_has_the_marks() -> None:
    report.put_between_marks((Path(__file__).parents[2] / "README.md").read_text(), "x")


def test_configuration_for_tidegate_loads(tmp_path: Path) -> None:
    routes = _loaded(tmp_path, PLAIN).spec["routes"]
    assert [[mirror["percent"] for mirror in route["mirror"]] for route in routes] == [[100.0], [10.0], []]
    assert [version["weight"] for version in routes[2]["versions"]] == [90, 10]


def test_configuration_for_tidegate_has_what_the_work_says(tmp_path: Path) -> None:
    assert len(_loaded(tmp_path, ROUTED).spec["routes"]) == ROUTES + 3
    assert len(_loaded(tmp_path, RULED).spec["routes"][-1]["rules"]) == 10
    assert _loaded(tmp_path, TWO).settings.workers == 2
    assert _loaded(tmp_path, LOGGED).settings.access_log.endswith("access.log")
    guarded = _loaded(tmp_path, GUARDED).spec
    assert all(upstream["health"] for upstream in guarded["upstreams"] if upstream["name"] != "shadow")
    assert guarded["routes"][-1]["retry"]
    assert guarded["routes"][-1]["hedge"]


def _loaded(place: Path, work: Work) -> Loaded:
    file = place / "tidegate.yaml"
    file.write_text(tidegate_file(PORTS, work=work))
    return load(file, {})


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.key)
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_writes_a_configuration_with_its_ports(peer: Peer, work: Work, tmp_path: Path) -> None:
    if work.key in peer.cannot:
        assert peer.cannot[work.key]
        return
    command = peer.command(tmp_path, PORTS, work)
    written = " ".join(command) + "".join(file.read_text() for file in tmp_path.iterdir())
    assert str(PORTS.listen) in written
    assert str(PORTS.stable) in written
    if work is ROUTED:
        assert f"host-{ROUTES - 1}.example.com" in written
    if work is RULED:
        assert "x-app-version" in written.lower().replace("_", "-")


def test_a_peer_says_why_it_cannot_do_a_case() -> None:
    cases = {case.key: case for case in CASES}
    peers = {peer.name: peer for peer in PEERS}
    assert cases["mirror"].refused(peers["haproxy"]) == "has no mirror"
    assert cases["idle"].refused(peers["relay"]) != ""
    assert all(not case.refused(peers["tidegate"]) and not case.refused(peers["nginx"]) for case in CASES)


def test_a_program_ends_with_all_it_started(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys; subprocess.Popen(['sleep', '600']); print('up', flush=True); sys.stdin.read(); input()"
    )
    cores = {min(os.sched_getaffinity(0))}
    with Program([sys.executable, "-c", f"{script}\nimport time; time.sleep(600)"], cores, tmp_path / "log") as program:
        pids = family(program.pid)
        assert program.pid in pids
        assert memory(pids).rss > 0
        assert cost(pids).total >= 0
    assert family(program.pid) == []
    assert program.died() != ""


def test_a_program_that_ignores_sigterm_is_ended_by_force(tmp_path: Path) -> None:
    script = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    with Program([sys.executable, "-c", script], set(os.sched_getaffinity(0)), tmp_path / "log") as program:
        while "up" not in program.log.read_text():
            pass
        with pytest.raises(subprocess.TimeoutExpired):
            program.wait(0.01)
        program.stop(patience=0.05)
    assert program.died().startswith(f"exit -{signal.SIGKILL}")


@pytest.mark.slow
def test_every_part_that_is_a_command_is_in_the_whole_too() -> None:
    here = Path(compare.__file__).parent
    commands = {file.stem for file in here.glob("*.py") if "measure_apart(" in file.read_text()} - {"apart"}
    commands |= {"exposure", "limits"}
    assert commands >= {"audience", "segments", "rollouts", "verdicts"}
    assert {part.__module__.removeprefix("bench.") for part, *_ in compare.PARTS} == {*commands, "guarded"}


def test_decisions_are_measured_in_a_process_of_their_own(tmp_path: Path) -> None:
    place = Place(tmp_path, PORTS, set(), set())
    plain, ruled, everything = audience.decisions(place, quick=True, interpreted=True)
    assert plain.measured.endswith(" ns")
    assert ruled.title.startswith("Added to it by ten rules, three of which name 100,000 units each, ")
    assert float(everything.measured.removesuffix(" us")) > 0


def test_the_evidence_of_an_answer_is_measured_in_a_process_of_its_own(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(rollouts, "share", lambda count, seconds, interpreted: (count / 100, int(400 * seconds)))
    place = Place(tmp_path, PORTS, set(), set())
    known, new, none, hundred = rollouts.under_way(place, quick=True, interpreted=True)
    assert 0.0 < float(known.measured.split(" us")[0]) < float(new.measured.removesuffix(" us")) < 1000.0
    assert none.title.startswith("control with 100 routes and 0 rollouts under way, 400 new users/s, ")
    assert (none.wanted, hundred.wanted) == ("", "under 5 %")


def test_the_bench_of_verdicts_asks_the_gates_that_run(monkeypatch) -> None:
    asked = []
    judge = Gates.judge
    monkeypatch.setattr(
        Gates, "judge", lambda self, evidence, gate: asked.append(judge(self, evidence, gate=gate)) or asked[-1]
    )
    found = verdicts.cost(1)
    assert found["metrics"] == 10
    assert found["units"] >= 90_000
    assert [one.outcome for one in asked[0].verdicts if "no " in one.reason] == []


@pytest.mark.slow
def test_lists_are_measured_in_a_process_of_their_own(tmp_path: Path) -> None:
    place = Place(tmp_path, PORTS, set(), set())
    rows = segments.alone(place, 20_000, Interpreted())
    form = "compiled" if compiled() else "interpreted"  # beside a wheel there is no source to take
    assert rows[0].title == f"Reading 20,000 short units, {form}"
    assert all(row.measured.split()[0].replace(",", "").replace("+", "").replace(".", "").isdigit() for row in rows)


def test_a_measurement_that_fails_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="nowhere"):
        found_by("nowhere.py", tmp_path, 1, interpreted=True)


def test_a_part_by_itself_writes_a_page_that_says_how_it_was_made() -> None:
    rows = [Row("control with 100 rollouts", "3.7 % of a core", "under 5 %"), Row("without", "0.1 %", "")]
    said = page("rollouts", "python -m bench.rollouts --out x.md", rows, {"CPU": "two cores"}, "2026-11-21")
    assert "Made by `python -m bench.rollouts --out x.md` on 2026-11-21" in said
    assert "| CPU | two cores |" in said
    assert "| control with 100 rollouts | 3.7 % of a core | under 5 % |\n| without | 0.1 % |  |\n" in said
