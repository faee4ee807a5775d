"""Reading what callgrind has counted: the instructions of every function by itself, and of every call with all below it.

The file is the one of `valgrind --tool=callgrind` ("Callgrind Format Specification", Valgrind manual): `fn=` names who spends
what follows, `cfn=` and `calls=` announce that the next line is the inclusive cost of a call. Names stand in full once and
as `(number)` from then on.
"""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"\((\d+)\)(?: (.*))?")
_COMPILED: Final = re.compile(r"CPy(?:Def|Py)_(?P<name>\w+)")
_ROUNDS: Final = 60
"""How often shares are passed on from callers to called; calls go less deep than that, but for recursion."""


class CallgrindError(Exception):
    """Callgrind did not run, or its file is not what it should be."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Instructions by function, and by (caller, called): those of the called and all below."""

    alone: Mapping[str, int] = field(default_factory=dict)
    calls: Mapping[tuple[str, str], int] = field(default_factory=dict)
    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """How many calls there were."""

    @property
    def total(self) -> int:
        return sum(self.alone.values())


def read(lines: Iterable[str]) -> Profile:
    """The profile in a file's lines. Raises CallgrindError where its sum is not what the file says."""
    names: dict[str, str] = {}
    alone: dict[str, int] = defaultdict(int)
    calls: dict[tuple[str, str], int] = defaultdict(int)
    counts: dict[tuple[str, str], int] = defaultdict(int)
    function = called = ""
    announced: int | None = None  # 0 where a call had begun before what the file tells
    said = None

    def name_of(text: str) -> str:
        found = _NAME.fullmatch(text)
        if found is None:
            return text
        if found[2]:
            names[found[1]] = found[2]
        return names[found[1]]

    for raw in lines:
        line = raw.rstrip("\n")
        if line.startswith("fn="):
            function = name_of(line[3:])
        elif line.startswith("cfn="):
            called = name_of(line[4:])
        elif line.startswith("calls="):
            announced = int(line[6:].split()[0])
        elif line.startswith("totals:"):
            said = int(line.split()[1])
        elif line and (line[0].isdigit() or line[0] in "+-*"):
            cost = int(line.split()[1]) if " " in line else 0
            if announced is not None:
                calls[function, called] += cost
                counts[function, called] += announced
                announced = None
            else:
                alone[function] += cost
    profile = Profile(alone, calls, counts)
    if said is None or said != profile.total:
        raise CallgrindError(f"the functions cost {profile.total} instructions, and the file says {said}")
    return profile


def compiled_name(function: str) -> str | None:
    """`client___ClientConnection____take` of mypyc's name for it; None of another function's."""
    found = _COMPILED.match(function)
    return found["name"] if found else None


def mark_of(place: str) -> str:
    """mypyc's name for `client:ClientConnection._take`, as `compiled_name` gives it."""
    module, _, path = place.partition(":")
    return "___".join((module, *path.split(".")))


def attribute(
    profile: Profile, entries: Mapping[str, str], turns: Mapping[tuple[str, str], str], rest: str
) -> dict[str, float]:
    """Instructions by stage; their sum is the profile's.

    `entries`: the stage that begins with a function, by the place of the function, or by `module:*` for all of a module; it
    holds for what is called from there until another stage's entry is called. `turns`: the stage of a call, by the places of
    caller and called, where the same function serves several stages. What serves several and is no entry (memory, dictionaries)
    is shared out as its callers' calls of it cost. What no stage leads to is `rest`.
    """
    marks = {mark_of(place): stage for place, stage in entries.items() if not place.endswith(":*")}
    modules = {place.removesuffix(":*"): stage for place, stage in entries.items() if place.endswith(":*")}
    by_turn = {(mark_of(caller), mark_of(called)): stage for (caller, called), stage in turns.items()}

    def entry(function: str) -> str | None:
        name = compiled_name(function)
        return None if name is None else marks.get(name) or modules.get(name.partition("___")[0])

    functions = {*profile.alone, *(one for call in profile.calls for one in call)}
    fixed = {one: stage for one in functions if (stage := entry(one)) is not None}
    callers: dict[str, list[tuple[str, int, str | None]]] = defaultdict(list)
    for (caller, called), cost in profile.calls.items():
        turn = by_turn.get((compiled_name(caller) or "", compiled_name(called) or ""))
        if called not in fixed and cost and caller != called:
            callers[called].append((caller, cost, turn))
    shares: dict[str, dict[str, float]] = {one: {fixed.get(one, rest): 1.0} for one in functions}
    for _ in range(_ROUNDS):
        changed = False
        for called, known in callers.items():
            sums: dict[str, float] = defaultdict(float)
            for caller, cost, turn in known:
                for stage, share in ({turn: 1.0} if turn else shares[caller]).items():
                    sums[stage] += cost * share
            whole = sum(sums.values())
            made = {stage: amount / whole for stage, amount in sums.items()}
            before = shares[called]
            if any(abs(share - before.get(stage, 0.0)) > 1e-9 for stage, share in made.items()):
                shares[called] = made
                changed = True
        if not changed:
            break
    found: dict[str, float] = defaultdict(float)
    for function, cost in profile.alone.items():
        for stage, share in shares[function].items():
            found[stage] += cost * share
    return dict(found)


def count(command: list[str], mark: str, environment: Mapping[str, str], directory: Path, name: str) -> Profile:
    """Run `command` in `directory` under callgrind and read what stood between its first call of the C function `mark` and its
    second. `name` is for the files.

    Raises CallgrindError where valgrind is not there, the command fails, or `mark` was not called twice.
    """
    valgrind = [
        "valgrind",
        "--tool=callgrind",
        f"--dump-before={mark}",
        f"--callgrind-out-file={name}.out",
        "--dump-line=no",
    ]
    try:
        done = subprocess.run(
            [*valgrind, *command], env=dict(environment), cwd=directory, capture_output=True, text=True, check=False
        )
    except FileNotFoundError as error:
        raise CallgrindError("valgrind is not installed (Debian's package has that name)") from error
    if done.returncode:
        raise CallgrindError(f"{' '.join(command)} failed under callgrind:\n{done.stderr[-2000:]}")
    parts = sorted(directory.glob(f"{name}.out.*"))
    if len(parts) != 2:
        raise CallgrindError(f"{mark} was called {len(parts)} times, not twice: what was counted is not known")
    with parts[1].open() as lines:
        return read(lines)
