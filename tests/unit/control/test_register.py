"""What becomes of workers is put down where it is looked for, and gone on with by the control process that comes after."""

import pytest

from proxy.control.access_file import AccessFile
from proxy.control.handover import Inventory
from proxy.control.legacy import Legacy
from proxy.control.places import Place
from proxy.control.register import Register
from proxy.control.takeover import Survivor
from proxy.core.backoff import Backoff
from proxy.telemetry.counters import REGION_SLOTS, W_CONNECTIONS
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import Ledger
from tests.unit.control.heard import Heard
from tests.unit.telemetry.memory import cells_of


class Process:
    """One that runs."""

    def __init__(self, pid):
        self.pid = pid
        self.birth = pid * 10

    def cpu_seconds(self):
        return 0.75


class Plans:
    """The plans, as far as a register asks them."""

    def __init__(self):
        self.generation = 3
        self.bequeathed = 0

    def bequeath(self):
        self.bequeathed += 1


class Directory:
    """A run directory that may be full."""

    def __init__(self):
        self.recorded = []
        self.full = False

    def record(self, workers):
        if self.full:
            raise OSError(28, "No space left on device")
        self.recorded.append(workers)


class House:
    """A register and all that it writes to."""

    def __init__(self, cells, legacy=None, survivors=()):
        self.facts = Facts()
        self.plans = Plans()
        self.places = {}
        self.directory = Directory()
        self.served = 0
        self.exposures = Heard()
        self.evidence = Heard()
        self.keys = Heard()
        self.ledger = Ledger(cells)
        self.cells = cells
        inventory = Inventory([], cells, self.ledger, legacy or Legacy(0, b""), list(survivors))
        self.make = lambda: Register(
            inventory,
            self.facts,
            self.plans,
            self.places,
            self.directory,
            AccessFile(),
            self.exposures,
            self.evidence,
            self.keys,
            self.serve,
        )

    def serve(self):
        self.served += 1

    def run(self, index, pid):
        place = self.places.setdefault(index, Place(index, Backoff(0.1, 10.0, lambda: 0.0)))
        place.process = Process(pid)


@pytest.fixture
def house():
    with cells_of(2) as cells:
        yield House(cells)


def test_a_process_that_runs_and_ends_is_in_the_facts_and_the_run_directory(house):
    register = house.make()
    house.run(0, 7)
    register.started(0, 7)
    assert house.directory.recorded == [{0: (7, 70)}]
    assert (house.facts.worker(0).pid, house.facts.worker(0).up) == (7, False)
    register.serving(0, 3, 0.1)
    assert house.facts.worker(0).up
    assert house.served == 1
    register.look()
    assert house.facts.worker(0).cpu_seconds == 0.75
    house.places[0].process = None
    register.died(0, 1.5)
    assert house.directory.recorded[-1] == {}
    assert (house.facts.worker(0).cpu_seconds, house.facts.worker(0).up) == (1.5, False)
    register.left(0)
    assert house.facts.worker(0).left
    assert house.plans.bequeathed == 2


def test_keys_that_tokens_lack_are_wanted(house):
    house.make().lacking("http://x/")
    assert house.keys.said == [("want", "http://x/")]


def test_the_present_of_a_dead_worker_is_cleared(house):
    register = house.make()
    for region in (0, REGION_SLOTS):
        house.cells.view[region + W_CONNECTIONS] = 5
    register.died(1, 0.0)
    assert [house.cells.view[region + W_CONNECTIONS] for region in (0, REGION_SLOTS)] == [5, 0]


def test_what_an_earlier_control_process_knew_is_gone_on_with():
    legacy = Legacy(2, b"", restarts={0: 4, 1: 4, 2: 4}, cpu={0: 9.5}, left=[2])
    survivor = Survivor(0, 7, {}, None, b"", -1, [])
    with cells_of(3) as cells:
        for index in range(3):
            cells.view[index * REGION_SLOTS + W_CONNECTIONS] = 5
        house = House(cells, legacy, [survivor])
        house.make()
        seats = [house.facts.worker(index) for index in range(3)]
        assert [seat.restarts for seat in seats] == [4, 5, 4]  # 1 died with its control, 2 had left before
        assert [seat.left for seat in seats] == [False, False, True]
        assert seats[0].cpu_seconds == 9.5
        assert [cells.view[index * REGION_SLOTS + W_CONNECTIONS] for index in range(3)] == [5, 0, 0]


def test_a_run_directory_that_cannot_be_written_is_told_of(house, caplog):
    register = house.make()
    house.directory.full = True
    house.run(0, 7)
    register.started(0, 7)
    assert "the run directory cannot be written" in caplog.text


def test_nothing_is_written_to_the_run_directory_after_the_end(house):
    register = house.make()
    register.close()
    house.run(0, 7)
    register.started(0, 7)
    assert house.directory.recorded == []


def test_a_refused_plan_is_a_problem_as_long_as_it_is_the_newest(house):
    register = house.make()
    register.refused(0, 2, "too old")
    assert house.facts.problems == []
    register.refused(0, 3, "not today")
    assert house.facts.problems == ["worker 0 cannot take plan 3: not today"]
    assert not house.facts.last_reload_success
