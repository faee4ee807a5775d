"""The ledger's laws, over any sequence of plans, settlings and take-overs."""

import os
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.telemetry import ledger as ledger_module
from proxy.telemetry.counters import BLOCK_SLOTS, V_REQUEST_BYTES, WORKER_SLOTS, Cells, create_memory
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.snapshot import Snapshot
from tests.specs import plan_spec, route_spec, version_spec

_names = st.sampled_from(["a", "b", "c", "d"])
_routes = st.dictionaries(_names, st.dictionaries(_names, st.none() | _names, min_size=1, max_size=3), max_size=3)
_steps = st.lists(st.tuples(_routes, st.integers(0, 3), st.booleans()), min_size=1, max_size=12)


@pytest.fixture
def small_limits(monkeypatch):
    for kind in ("version", "codes"):
        monkeypatch.setitem(ledger_module.RETIRED_LIMITS, kind, 2)
    monkeypatch.setattr(ledger_module, "REMOVED_ROUTES", 1)


def spec_of(generation, routes):
    return plan_spec(
        *(
            route_spec(
                name,
                versions=[
                    version_spec(one, 1.0, fallback=next_one if next_one in arms and next_one != one else None)
                    for one, next_one in arms.items()
                ],
            )
            for name, arms in routes.items()
        ),
        generation=generation,
    )


def everything(ledger, cells):
    snapshot = Snapshot(cells)
    counted = sum(snapshot.sparse(offset, 4).get(V_REQUEST_BYTES, 0) for _, offset in ledger.blocks("version"))
    answers = sum(sum(snapshot.sparse(offset, 1000).values()) for _, offset in ledger.blocks("codes"))
    counted += sum(one.get(V_REQUEST_BYTES, 0) for one in ledger.folded("version").values())
    answers += sum(sum(one.values()) for one in ledger.folded("codes").values())
    return counted, answers


@settings(max_examples=60, deadline=None, suppress_health_check=[])
@example(  # a route leaves whose older version was folded before
    steps=[
        ({"b": {"b": None}, "c": {"a": None}, "a": {"a": None, "b": None, "c": None}}, 0, False),
        ({"a": {"a": None}, "b": {"a": None}}, 0, False),
        ({"a": {"a": None, "b": None, "c": None}}, 0, False),
    ]
)
@given(steps=_steps)
def check_laws(steps):
    descriptor = create_memory()
    try:
        cells = Cells(descriptor, 0, 2)
        ledger = Ledger(cells)
        total = 0
        for generation, (routes, behind, taken_over) in enumerate(steps, 1):
            before = {kind: dict(ledger.blocks(kind)) for kind in BLOCK_SLOTS if kind != "worker"}
            placed = ledger.place(spec_of(generation, routes))
            after = {kind: dict(ledger.blocks(kind)) for kind in before}
            for kind, blocks in before.items():
                assert all(after[kind][key] == offset for key, offset in blocks.items())
            spans = sorted(
                (offset, offset + BLOCK_SLOTS[kind]) for kind, blocks in after.items() for offset in blocks.values()
            )
            assert all(one[1] <= two[0] for one, two in pairwise(spans))
            assert spans[0][0] >= WORKER_SLOTS
            for route in placed["routes"]:
                for version in route["versions"]:
                    cells.view[version["slot"] + V_REQUEST_BYTES] += 1
                    cells.view[version["codes"][-1] + 200] += 1
                    total += 1
            settled = generation - behind
            ledger.settled(settled)
            if taken_over:
                ledger = Ledger.load(ledger.dump(), cells)
            assert everything(ledger, cells) == (total, total)
            if behind == 0:
                live = len(list(ledger.live("version")))
                assert len(list(ledger.blocks("version"))) <= live + 2
                assert len({key[0] for key in ledger.folded("version")} - {"removed"} - set(routes)) <= 1
    finally:
        os.close(descriptor)


def test_same_labels_same_block_no_overlap_no_sum_goes_back(small_limits):
    check_laws()
