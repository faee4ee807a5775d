"""The mapped memory: who counts where, and what is summed while workers come and go."""

import os

from proxy.telemetry.counters import REGION_SLOTS, ROOM, Cells, create_memory, regions_in_use
from tests.unit.telemetry.memory import cells_of


def test_there_is_room_for_more_workers_than_there_are():
    with cells_of(1) as cells:
        assert (cells.room, cells.workers, cells.regions, cells.alone) == (ROOM, 1, 1, True)
    with cells_of(40) as cells:
        assert (cells.room, cells.workers, cells.regions, cells.alone) == (80, 40, 40, False)


def test_a_second_mapping_has_as_many_regions_as_the_first():
    descriptor = create_memory()
    first = Cells(descriptor, 0, 40)
    second = Cells(descriptor, 50, 1)
    second.view[second.base + 7] = 5
    assert second.room == 80
    assert first.view[50 * REGION_SLOTS + 7] == 5
    os.close(descriptor)


def test_a_total_is_that_of_the_workers_that_run():
    with cells_of(1) as cells:
        for worker in range(4):
            cells.view[worker * REGION_SLOTS + 3] = 10**worker
        assert cells.total(3) == 1
        cells.share(2, [0, 1, 3])
        assert (cells.workers, cells.alone, cells.regions) == (2, False, 4)
        assert cells.others == [REGION_SLOTS, 3 * REGION_SLOTS]
        assert cells.total(3) == cells.total(3 * REGION_SLOTS + 3) == 1011
        before = cells.shares
        cells.share(1, [0])
        assert (cells.total(3), cells.alone, cells.shares) == (1, True, before + 1)
        assert cells.regions == 4, "what was counted there stays counted"


def test_a_worker_alone_with_a_higher_number_reads_its_own_region():
    descriptor = create_memory()
    cells = Cells(descriptor, 3, 1)
    cells.share(1, [3])
    cells.view[cells.base + 3] = 5
    assert cells.total(3) == cells.total(cells.base + 3) == 5
    os.close(descriptor)


def test_the_regions_in_use_are_those_in_which_somebody_counted():
    with cells_of(1) as cells:
        assert regions_in_use(cells.descriptor) == 0
        cells.view[2 * REGION_SLOTS + 9] = 1
        assert regions_in_use(cells.descriptor) == 3
