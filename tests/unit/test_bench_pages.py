"""What the bench writes: the wanted figures, the report, the README's block, and the plots."""

import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench import pages, plots, report, tables, wanted
from bench.cases import CASES, Figures
from bench.peers import PEERS
from bench.wanted import STALL, WANTED, Results, decisive, judged

ONE = Figures(20.0, 5.0, 15.0, 50_000.0, 900.0, 2000.0, 20_000_000, 15_000_000, 0.97, 0, 100_000)
PACED = {"asked": 1000.0, "late": 20.0, "bare50": 50.0, "bare99": 90.0, "p999": 3000.0}


def facts(*names: str, own: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {
        "command": "python -m bench.compare", "date": "2026-01-01", "machine": report.machine(), "wrk": "wrk", "luajit": "LuaJIT",
        "upstream": "1", "pace": {"rounds": 3, "decisive": 2, "survey": 1}, "skipped": {"envoy": "not installed"},
        "failures": {"caddy, 1,000 routes": "exit 1"}, "dropped": ["gates"], "lasted": 600.0, "own": own or [], "same": 1000.0,
        "peers": {
            peer.name: {"version": "1", "sticky": "yes", "adds": "nothing", "cannot": dict(peer.cannot), "share": 0.1,
                        "same": 1.0, "rest": 1e7}
            for peer in PEERS if peer.name in names
        },
    }  # fmt: skip


def every(*names: str) -> Results:
    """All cases of these peers, with everything that a case may have."""
    return {
        case.key: {
            peer.name: [replace(ONE, **PACED, mebibytes=500.0, copies=1.0, logged=1.0, idle_kb=1.0)]
            for peer in PEERS
            if peer.name in names and not case.refused(peer)
        }
        for case in CASES
    }


def found_for(title: str, results: Results, own: list[dict[str, Any]] | None = None) -> wanted.Met:
    return next(met for met in judged(results, own or []) if met.title.startswith(title))


def test_a_wanted_ratio_is_the_median_of_ratios_within_rounds() -> None:
    ours = [replace(ONE, cpu=cpu, round=turn) for turn, cpu in enumerate((40.0, 90.0, 24.0))]
    theirs = [replace(ONE, cpu=cpu, round=turn) for turn, cpu in enumerate((20.0, 75.0, 20.0))]
    met = found_for("small GET, CPU per request, to nginx's", {"small": {"tidegate": ours, "nginx": theirs}})
    assert (met.wanted, met.measured, met.met) == ("<= 1.25", "1.20 (1.20 to 2.00)", True)


def test_a_round_in_which_one_of_them_is_missing_gives_no_ratio() -> None:
    ours = [replace(ONE, cpu=cpu, round=turn) for turn, cpu in enumerate((20.0, 60.0, 24.0))]
    theirs = [replace(ONE, cpu=20.0, round=0), replace(ONE, cpu=20.0, round=2)]
    results: Results = {"small": {"tidegate": ours, "nginx": theirs}}
    assert found_for("small GET, CPU per request, to nginx's", results).measured == "1.10 (1.00 to 1.20)"


def test_a_wanted_figure_is_met_at_its_limit_and_not_beyond() -> None:
    for cpu, met in ((25.0, True), (25.1, False)):
        results: Results = {"small": {"tidegate": [replace(ONE, cpu=cpu)], "nginx": [ONE]}}
        assert found_for("small GET, CPU per request, to nginx's", results).met is met


def test_throughput_is_wanted_at_least() -> None:
    for speed, met in ((80.0, True), (79.0, False)):
        ours, theirs = replace(ONE, mebibytes=speed), replace(ONE, mebibytes=100.0)
        results: Results = {"upload100m": {"tidegate": [ours], "nginx": [theirs]}}
        found = found_for("100 MiB upload", results)
        assert (found.wanted, found.met) == (">= 0.8", met)


def test_routes_are_compared_with_the_same_peer_s_own_small_get() -> None:
    results: Results = {
        "small": {"tidegate": [ONE], "nginx": [replace(ONE, cpu=1.0)]}, "routes": {"tidegate": [replace(ONE, cpu=21.0)]},
    }  # fmt: skip
    assert found_for("1,000 routes", results).measured == "1.05"


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert {(met.measured, met.met) for met in judged({}, [])} == {("not measured", None)}


def test_the_stall_of_a_reload_is_taken_from_the_row_of_tidegate_alone() -> None:
    row = {"title": "x", "measured": "", "wanted": "", "key": STALL}
    assert found_for("weights of 1,000", {}, [{**row, "value": 4.2}]).met is True
    assert found_for("weights of 1,000", {}, [{**row, "value": 5.2}]).met is False
    assert found_for("weights of 1,000", {}, [{**row, "value": None}]).met is None


def test_decisive_are_the_cases_that_a_wanted_figure_names() -> None:
    assert decisive("envoy") == {"small", "idle"}
    assert decisive("relay") == {"small"}
    assert decisive("tidegate") == {one.case for one in WANTED}


def test_the_table_says_met_and_not_met() -> None:
    results: Results = {"small": {"tidegate": [ONE], "nginx": [ONE], "envoy": [ONE]}}
    lines = wanted.table(results, []).splitlines()
    assert "| small GET, CPU per request, to nginx's | <= 1.25 | 1.00 | met |" in lines
    assert "| small GET, CPU per request, to Envoy's | <= 0.3 | 1.00 | not met |" in lines
    assert len(lines) == len(WANTED) + 3


def test_the_report_says_what_is_not_there_and_why() -> None:
    names = ("tidegate", "nginx", "haproxy")
    results = every(*names)
    del results["close"]["haproxy"]
    text = report.markdown(results, facts(*names))
    assert "- envoy: not installed" in text
    assert "- caddy, 1,000 routes: exit 1" in text
    assert "- gates: there was no time left" in text
    mirrored = text.partition("### small GET, 100 % mirrored")[2].partition("###")[0]
    assert "Not there: haproxy (has no mirror)." in mirrored
    assert (
        "Not there: haproxy (not measured)."
        in text.partition("### small GET, a connection each")[2].partition("###")[0]
    )
    assert "| haproxy | 20.0 (1.00) | 20.0 (1.00) | 20.0 (1.00) | n/a | n/a |" in tables.small_table(
        results, facts(*names)["peers"]
    )


def test_all_tables_have_as_many_cells_as_titles() -> None:
    names = tuple(peer.name for peer in PEERS)
    text = report.markdown(every(*names), facts(*names))
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            block.append(line)
        elif block:
            assert len({one.count("|") for one in block}) == 1, block[0]
            block = []


def test_latency_is_shown_at_each_load_beside_the_upstream_alone() -> None:
    text = tables.paced_table(every("tidegate"), facts("tidegate", "nginx")["peers"], 1000.0)
    assert "| tidegate | 60 % of capacity | 1,000 | 50,000 | 0.90 | 2.00 | 3.00 | 0.05, 0.09 | 0.02 | 97% | 0 |" in text
    assert text.count("| tidegate |") == 4
    assert "1,000 requests a second are beyond, or were not asked of: nginx." in text


def test_results_come_back_as_they_were_written() -> None:
    results, known = every("tidegate", "nginx"), facts("tidegate", "nginx")
    again, back = report.load(report.dump(results, known))
    assert again == results
    assert back == known


@pytest.mark.parametrize("name", plots.PLOTS)
def test_plots_are_well_formed_and_name_their_peers(name: str) -> None:
    names = tuple(peer.name for peer in PEERS)
    picture = str(plots.PLOTS[name](every(*names), facts(*names)["peers"]))
    root = ET.fromstring(picture)
    assert root.tag.endswith("svg")
    assert "prefers-color-scheme: dark" in picture
    assert {"tidegate", "nginx", "caddy"} <= {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}


def test_a_plot_without_figures_is_not_drawn() -> None:
    assert all(draw({}, facts("tidegate")["peers"]) is None for draw in plots.PLOTS.values())


def test_one_call_writes_all_pages(tmp_path: Path) -> None:
    begin, end = report.MARKS
    for folder in ("bench", "docs"):
        (tmp_path / folder).mkdir()
    (tmp_path / "README.md").write_text(f"a\n{begin}\nold\n{end}\nz\n")
    results, known = every("tidegate", "nginx"), facts("tidegate", "nginx")
    written = {file.relative_to(tmp_path).as_posix() for file in pages.write(results, known, tmp_path)}
    assert written == {"bench/RESULTS.md", "bench/results.json", "README.md", *(f"docs/{name}" for name in plots.PLOTS)}
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith(f"a\n{begin}\n![")
    assert readme.endswith(f"{end}\nz\n")
    assert "docs/performance-cpu.svg" in readme
    page = tmp_path / "docs/performance.md"
    page.write_text("no marks\n")
    pages.write(results, known, tmp_path)
    assert page.read_text() == "no marks\n"
    page.write_text(f"b\n{begin}\n{end}\n")
    pages.write(results, known, tmp_path)
    assert "| figure | wanted | measured | |" in page.read_text()
