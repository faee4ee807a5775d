"""How instructions are counted: reading callgrind's file, sharing it out among stages, comparing it with the bounds."""

import ast
import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import proxy
from bench import instructions, yardstick
from bench.callgrind import CallgrindError, Profile, attribute, compiled_name, count, mark_of, read
from bench.counted import SLACK, Counted, Result, advice, excesses, load_bounds, with_bounds
from bench.instruction_pages import Before, block, load_before, page, result_of
from bench.instructions import per_request
from bench.played import CASES, USERS, Player
from bench.stages import ENTRIES, REST, STAGES, TURNS
from proxy.settings.loader import load

FILE = """# callgrind format
version: 1
part: 2
desc: Trigger: --dump-before=getppid
positions: line
events: Ir
summary: 180

ob=(1) /usr/bin/python
fl=(1) ceval.c
fn=(1) loop
10 20
+2 5
cfn=(2) CPyDef_client___ClientConnection____take
calls=2 77
* 150
cfi=(2) obmalloc.c
cfn=(3) malloc
calls=1 5
-3 5

fn=(2)
0 100
fi=(3) inlined.h
7 10
fe=(1)
cfn=(3)
calls=4 5
0 40

fn=(3)
5 5
5 40

fn=(4) ended
calls=0 5
0 1000

totals: 180
"""


def _read(text: str) -> Profile:
    return read(text.splitlines(keepends=True))


def test_a_file_is_read() -> None:
    profile = _read(FILE.replace("fn=(4) ended\n", "fn=(4) ended\ncfn=(1)\n"))
    take = "CPyDef_client___ClientConnection____take"
    assert profile.alone == {"loop": 25, take: 110, "malloc": 45}
    assert profile.calls == {("loop", take): 150, ("loop", "malloc"): 5, (take, "malloc"): 40, ("ended", "loop"): 1000}
    assert profile.counts["loop", take] == 2
    assert profile.total == 180


def test_a_file_that_does_not_add_up_is_an_error() -> None:
    with pytest.raises(CallgrindError, match="cost 180 instructions, and the file says 181"):
        _read(FILE.replace("totals: 180", "totals: 181"))
    with pytest.raises(CallgrindError, match="the file says None"):
        _read("fn=(1) loop\n0 5\n")


def test_names_are_those_of_mypyc() -> None:
    assert mark_of("client:ClientConnection._take") == "client___ClientConnection____take"
    assert mark_of("http1:cut_head") == "http1___cut_head"
    assert compiled_name("CPyDef_http1___cut_head") == compiled_name("CPyPy_http1___cut_head") == "http1___cut_head"
    assert compiled_name("PyDict_GetItem") is None


def _profile(alone: dict[str, int], calls: dict[tuple[str, str], int]) -> Profile:
    return Profile(alone, calls, {})


def test_a_stage_holds_until_the_next_begins() -> None:
    take, parse, split = "CPyDef_c___C___take", "CPyPy_h___parse", "CPyDef_h____split"
    profile = _profile(
        {"loop": 7, take: 10, parse: 20, split: 30}, {("loop", take): 60, (take, parse): 50, (parse, split): 30}
    )
    found = attribute(profile, {"c:C.take": "keep", "h:parse": "read"}, {}, "rest")
    assert found == {"rest": 7, "keep": 10, "read": 50}


def test_all_of_a_module_begins_a_stage_but_for_what_is_named() -> None:
    profile = _profile({"CPyDef_m___A___one": 5, "CPyDef_m___two": 8, "CPyDef_mm___three": 1}, {})
    assert attribute(profile, {"m:*": "copies", "m:two": "read"}, {}, "rest") == {"copies": 5, "read": 8, "rest": 1}


def test_what_serves_two_stages_is_shared_out_by_what_the_calls_cost() -> None:
    read_it, write_it = "CPyDef_h___read", "CPyDef_h___write"
    profile = _profile(
        {read_it: 1, write_it: 1, "join": 20, "malloc": 80},
        {(read_it, "join"): 75, (write_it, "join"): 25, ("join", "malloc"): 80},
    )
    found = attribute(profile, {"h:read": "read", "h:write": "write"}, {}, "rest")
    assert found == {"read": pytest.approx(76), "write": pytest.approx(26)}


def test_a_call_can_have_a_stage_of_its_own() -> None:
    ours, theirs, cut = "CPyDef_c___take", "CPyDef_u___head", "CPyDef_h___cut"
    profile = _profile({ours: 1, theirs: 2, cut: 40}, {(ours, cut): 30, (theirs, cut): 10})
    turns = {("c:take", "h:cut"): "read", ("u:head", "h:cut"): "answer"}
    found = attribute(profile, {"c:*": "keep", "u:*": "keep"}, turns, "rest")
    assert found == {"keep": 3, "read": pytest.approx(30), "answer": pytest.approx(10)}


def test_recursion_loses_nothing() -> None:
    take = "CPyDef_c___take"
    profile = _profile({take: 5, "a": 10, "b": 20}, {(take, "a"): 30, ("a", "b"): 40, ("b", "a"): 30, ("a", "a"): 9})
    found = attribute(profile, {"c:take": "keep"}, {}, "rest")
    assert sum(found.values()) == pytest.approx(35)
    assert found["keep"] == pytest.approx(35, rel=1e-3)


def test_interpreted_has_a_total_only_and_compiled_needs_names() -> None:
    profile = _profile({"_PyEval_EvalFrameDefault": 5000}, {})
    assert per_request(profile, compiled=False, requests=10) == (500, {})
    with pytest.raises(CallgrindError, match="stripped"):
        per_request(profile, compiled=True, requests=10)


def test_stages_are_told_in_the_order_of_the_way() -> None:
    profile = _profile({"CPyDef_record___Record____count": 900, "CPyDef_http1___parse_request": 300, "main": 30}, {})
    total, stages = per_request(profile, compiled=True, requests=3)
    assert total == 410
    assert list(stages.items()) == [
        ("read the request's head", 100), ("count and write down", 300), (REST, 10),
    ]  # fmt: skip


# The stages, and the sources.


def _places(module: str) -> set[str]:
    """Functions and methods that a module of the data plane defines, and what mypyc makes of its classes."""
    files = [
        file for file in Path(proxy.__path__[0]).glob(f"*/{module}.py") if file.parent.name in ("core", "dataplane")
    ]
    assert files
    found = {f"{module}:*"}
    for node in [node for file in files for node in ast.parse(file.read_text()).body]:
        if isinstance(node, ast.FunctionDef):
            found.add(f"{module}:{node.name}")
        elif isinstance(node, ast.ClassDef):
            found |= {f"{module}:{node.name}", f"{module}:{node.name}_clear"}
            found |= {f"{module}:{node.name}.{one.name}" for one in node.body if isinstance(one, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("place", sorted({*ENTRIES, *(place for turn in TURNS for place in turn)}))
def test_every_entry_is_a_function_of_the_sources(place: str) -> None:
    assert place in _places(place.partition(":")[0])


def test_every_stage_has_an_entry_and_a_place_on_the_way() -> None:
    assert {*ENTRIES.values(), *TURNS.values(), REST} == set(STAGES)


# What is played.


@pytest.mark.parametrize("name", CASES)
def test_every_case_is_answered(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    file = tmp_path / "tidegate.yaml"
    file.write_text(case.file)
    player = Player(load(file, {}).spec)
    player.warm((case.ask(number) for number in range(100)), case.answer)
    asked = {wire.get_extra_info("peername")[0] for wire in player.loop.wires}
    player.close()
    assert asked == {"10.0.0.1", "10.0.0.2"} | ({"10.0.0.3"} if name == "mirror" else set())


def test_an_answer_that_is_not_the_upstreams_is_not_counted(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(CASES["small"].file)
    player = Player(load(file, {}).spec)
    with pytest.raises(AssertionError, match=r"was answered b'HTTP/1\.1 500"):
        player.warm(iter([CASES["small"].ask(1)]), [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"])
    player.close()


def test_every_user_has_been_seen_before_the_count() -> None:
    assert len({CASES["small"].ask(number) for number in range(USERS)}) == USERS
    assert instructions.REQUESTS % USERS == 0


def test_a_browser_is_never_quite_the_same() -> None:
    heads = [CASES["browser"].ask(number).split(b"\r\n") for number in range(200)]
    assert all(len(head) == 1 + 14 + 2 for head in heads)
    differing = {
        lines[0].partition(b":")[0] for lines in zip(*(head[1:] for head in heads), strict=True)
        if len(set(lines)) == len(lines)
    }  # fmt: skip
    assert differing >= {b"Cookie", b"x-request-id", b"traceparent"}
    assert len({head[0] for head in heads}) == len(heads)


def test_the_yardstick_does_its_work() -> None:
    assert yardstick.work(0) == 0
    one = yardstick.work(1)
    assert one > 100
    assert yardstick.work(50) == 50 * one


# Bounds.

SMALL = Counted("small GET", 60_000, 1.0, {STAGES[0]: 10_000}, 6.5)
RESULT = Result(True, "3.11.7", 60_000, {"small": SMALL})


def test_what_costs_more_than_its_bound_and_the_slack_is_told_with_a_remedy() -> None:
    bounds = {"compiled, Python 3.11": {"small": 1.0}}
    assert excesses(RESULT, bounds) == []
    near = replace(RESULT, cases={"small": replace(SMALL, ratio=1 + SLACK - 0.001)})
    assert excesses(near, bounds) == []
    above = replace(RESULT, cases={"small": replace(SMALL, instructions=63_200, ratio=1 + SLACK + 0.002)})
    (told,) = excesses(above, bounds)
    assert "small GET" in told
    assert "63,200" in told
    assert "5.2% more" in told
    assert "--bounds" in advice(above)
    assert "--interpreted" in advice(replace(above, compiled=False))


def test_a_case_without_a_bound_is_told_and_an_unknown_form_is_an_error() -> None:
    assert excesses(RESULT, {"compiled, Python 3.11": {}}) == ["small: there is no bound for it in instructions.json"]
    with pytest.raises(KeyError):
        excesses(replace(RESULT, python="3.13.0"), {"compiled, Python 3.11": {"small": 1.0}})


def test_new_bounds_leave_the_others_alone() -> None:
    before = {"interpreted, Python 3.11": {"small": 3.0}, "compiled, Python 3.11": {"small": 2.0, "large": 2.5}}
    assert with_bounds(before, RESULT) == {
        "compiled, Python 3.11": {"small": 1.0, "large": 2.5}, "interpreted, Python 3.11": {"small": 3.0},
    }  # fmt: skip
    assert before["compiled, Python 3.11"]["small"] == 2.0


def test_committed_bounds_are_of_every_case_in_both_forms() -> None:
    bounds = load_bounds()
    assert {form.partition(",")[0] for form in bounds} == {"compiled", "interpreted"}
    assert all(set(known) == set(CASES) for known in bounds.values())


def test_tables_name_cases_and_stages() -> None:
    text = page(RESULT)
    assert "| small GET | 60,000 | 1.000 | 6.5 |" in text
    assert f"| {STAGES[0]} | 10,000 |" in text
    assert STAGES[1] not in text
    assert "stage" not in page(replace(RESULT, compiled=False))


BEFORE = Before(
    "628e763",
    replace(RESULT, cases={"small": replace(SMALL, instructions=120_000, stages={STAGES[0]: 30_000, STAGES[2]: 600})}),
    Result(False, "3.11.7", 60_000, {"small": Counted("small GET", 240_000, 4.0)}),
)
PLAIN = Result(False, "3.11.7", 60_000, {"small": Counted("small GET", 180_000, 3.0)})


def test_the_page_compares_stages_and_cases_with_the_commit_before() -> None:
    text = block(BEFORE, replace(RESULT, cases={"small": replace(SMALL, microseconds=6.0)}), PLAIN)
    assert f"| {STAGES[0]} | 30,000 | 3.00 | 10,000 | 1.00 |" in text
    assert f"| {STAGES[2]} | 600 | 0.06 | 0 | 0.00 |" in text
    assert STAGES[1] not in text
    assert "| **all** | 120,000 | 12.00 | 60,000 | 6.00 |" in text
    assert "| small GET | 120,000 | 60,000 | 0.50 | 240,000 | 180,000 | 0.75 |" in text
    assert "at 628e763" in text


def test_the_page_wants_both_forms_and_a_time() -> None:
    for compiled, interpreted in (
        (PLAIN, PLAIN),
        (RESULT, RESULT),
        (replace(RESULT, cases={"small": replace(SMALL, microseconds=None)}), PLAIN),
    ):
        with pytest.raises(ValueError, match="a compiled result that was timed, and an interpreted one"):
            block(BEFORE, compiled, interpreted)


def test_the_committed_counts_to_compare_with_are_of_every_case() -> None:
    before = load_before()
    assert (before.compiled.compiled, before.interpreted.compiled) == (True, False)
    assert set(before.compiled.cases) == set(before.interpreted.cases) == set(CASES)
    assert all(
        sum(one.stages.values()) == pytest.approx(one.instructions, abs=10) for one in before.compiled.cases.values()
    )


def test_what_was_written_is_read_again() -> None:
    assert result_of(json.loads(json.dumps(asdict(RESULT)))) == RESULT


def test_a_command_that_fails_is_not_counted(tmp_path: Path) -> None:
    valgrind = tmp_path / "valgrind"
    path = {"PATH": str(tmp_path)}
    valgrind.write_text("#!/bin/sh\necho why >&2\nexit 3\n")
    valgrind.chmod(0o755)
    with pytest.raises(CallgrindError, match="true failed under callgrind:\nwhy"):
        count(["true"], "getppid", path, tmp_path, "one")
    valgrind.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(CallgrindError, match="called 0 times, not twice"):
        count(["true"], "getppid", path, tmp_path, "one")
    with pytest.raises(CallgrindError, match="valgrind is not installed"):
        count(["true"], "getppid", {"PATH": str(tmp_path / "nowhere")}, tmp_path, "one")
