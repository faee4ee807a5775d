"""Rollouts where the machine's clock is set, with real processes: holds are seconds that were watched, and nothing else."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from .harness.origin import Origin
from .harness.proxy import Proxy
from .harness.wait import wait_for
from .test_rollouts import act, causes, in_force, kill_control, rollout, route, shop, state

DAY = 86_400.0
HOLD = 4.0
SHIFTED = '''
"""Every Python that starts with this directory in its path has a clock that is off by what the file beside it says."""

import pathlib
import time

_FILE = pathlib.Path(__file__).with_name("shift")
_REAL = time.time


def _shifted():
    return _REAL() + float(_FILE.read_text())


time.time = _shifted
'''


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin(record=False) as stable, Origin(record=False) as canary:
        yield stable, canary


class Clock:
    """The wall clock of a proxy's processes."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(SHIFTED)
        self.directory = directory
        self.set(0.0)

    def set(self, seconds: float) -> None:
        """So far from the real one."""
        following = self.directory / "next"
        following.write_text(str(seconds))
        following.replace(self.directory / "shift")


@pytest.mark.slow
def test_a_clock_that_is_set_takes_no_step_and_repeats_none(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    walk = route(steps=[10, 50, 100], hold=f"{HOLD:g}s")
    with Proxy(shop(origins, walk), tmp_path, python_path=clock.directory) as proxy:

        def stepped(number: int) -> float:
            wait_for(lambda: rollout(proxy)["step"] == number, f"step {number}", 20.0)
            return monotonic()

        taken = [stepped(1)]
        clock.set(DAY)
        taken.append(stepped(2))
        clock.set(-DAY)
        kill_control(proxy)
        taken.append(stepped(3))
        wait_for(lambda: state(proxy) == "completed", "the end")
        for before, after in pairwise(taken):
            assert after - before >= HOLD - 1.0  # when it was asked, against seconds that were watched
        assert causes(proxy) == ["created", "begin", "step_passed", "step_passed"]
        assert in_force(proxy) == 100.0
        transitions = proxy.api("/api/v1/rollouts/shop/history")["transitions"]
        begun, second, third = (one["at"] for one in transitions[-2::-1])
        assert second - begun > DAY / 2  # so it was set, and for this process
        assert third - second < -DAY


@pytest.mark.slow
def test_weights_by_hand_end_by_the_clock_and_the_rollout_waits(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with Proxy(shop(origins, route(steps=[10, 100])), tmp_path, python_path=clock.directory) as proxy:
        wait_for(lambda: in_force(proxy) == 10.0, "the first step")
        until = rollout(proxy)["since"] + DAY / 2
        proxy.change("PUT", "/api/v1/routes/shop/weights", {"weights": {"canary": 30}, "reason": "x", "until": until})
        wait_for(lambda: (state(proxy), in_force(proxy)) == ("paused", 30.0), "weights by hand")
        clock.set(DAY)
        wait_for(lambda: in_force(proxy) == 10.0, "their end")
        assert state(proxy) == "paused"
        act(proxy, "resume")
        assert state(proxy) == "progressing"
