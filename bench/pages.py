"""Where the results of a run are written: the report, the plots, and the tables in README.md and docs/performance.md."""

from pathlib import Path
from typing import Any

from bench import plots, report, wanted
from bench.peers import ROOT
from bench.tables import small_table
from bench.wanted import Results


def readme_block(results: Results, facts: dict[str, Any]) -> str:
    """The README's table and its plot."""
    machine = facts["machine"]
    made = f"{machine['CPU']}; Linux {machine['kernel']}; {machine['Python']}; {facts['date']}."
    return "\n".join(
        [
            "![CPU of a small GET, by peer](docs/performance-cpu.svg)",
            "",
            "CPU microseconds per request on one core, user and system (ratio to nginx of the same run):",
            "",
            small_table(results, facts["peers"]),
            "",
            f"Made by `{facts['command']}`. {made}",
        ]
    )


def performance_block(results: Results, facts: dict[str, Any]) -> str:
    """What docs/performance.md says was measured: the wanted figures."""
    machine = facts["machine"]
    return "\n".join(
        [
            wanted.table(results, facts["own"]),
            "",
            f"Measured on {facts['date']} ({machine['CPU']}; Linux {machine['kernel']}; {machine['Python']}), all in one run of",
            f"`{facts['command']}`. Everything else that it measured stands in [RESULTS.md](../bench/RESULTS.md).",
        ]
    )


def write(results: Results, facts: dict[str, Any], root: Path = ROOT) -> list[Path]:
    """Write all pages below `root`, and say which. docs/performance.md is written where it is there and has the marks."""
    files = {
        root / "bench/RESULTS.md": report.markdown(results, facts),
        root / "bench/results.json": report.dump(results, facts),
        root / "README.md": report.put_between_marks((root / "README.md").read_text(), readme_block(results, facts)),
    }
    page = root / "docs/performance.md"
    if page.exists() and report.MARKS[0] in (text := page.read_text()):
        files[page] = report.put_between_marks(text, performance_block(results, facts))
    for name, draw in plots.PLOTS.items():
        picture = draw(results, facts["peers"])
        if picture is not None:
            files[root / "docs" / name] = str(picture)
    for file, text in files.items():
        file.write_text(text)
    return list(files)
