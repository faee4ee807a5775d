"""The control process whole, with real worker processes that only pretend to serve: start, reload, faults, drain, takeover."""

import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from proxy.control.app import Control
from proxy.control.process import birth
from proxy.control.run_dir import RunDir
from proxy.control.sockets import ListenError
from proxy.settings.loader import Loader
from proxy.telemetry.logs import install
from tests.unit.control.left_alone import open_ports

FAKE = str(Path(__file__).with_name("fake_worker.py"))

CONFIG = """
listen: 127.0.0.1:0
workers: {workers}
drain: {{delay: 0s, limit: 1s}}
access_log: {access_log}
upstreams:
  a: {{endpoints: [http://127.0.0.1:1]}}
  b: {{endpoints: [http://localhost:2]}}
routes:
  - name: shop
    match: {{path_prefix: /}}
    unit: [{{header: x-user-id}}]
    versions:
      stable: {{upstream: a, weight: {weight}}}
      canary: {{upstream: b, weight: 5}}
"""


class House:
    """A configuration file, a run directory, and the control process over them."""

    def __init__(self, tmp_path, monkeypatch):
        self.tmp_path = tmp_path
        self.path = tmp_path / "tidegate.yaml"
        self.access = tmp_path / "access.log"
        self.monkeypatch = monkeypatch
        self.workers = 1
        self.write()

    def write(self, weight=95, **changes):
        values = {"weight": weight, "workers": self.workers, "access_log": self.access, **changes}
        self.path.write_text(CONFIG.format(**values))

    def play(self, script, manner=""):
        """Run the control process with `script` beside it, then SIGTERM unless the script has ended it; its exit code."""
        self.monkeypatch.setenv("FAKE_WORKER", manner)
        return asyncio.run(self._play(script))

    def make(self):
        loader = Loader(self.path, {})
        loaded = loader.load()
        run_dir = RunDir(self.tmp_path / "run")
        return Control(self.path, loader, loaded, run_dir, install(clock=time.time), module=(FAKE,)), run_dir

    async def _play(self, script):
        self.control, run_dir = self.make()
        running = asyncio.ensure_future(self.control.run(lambda: open_ports))
        try:
            beside = asyncio.ensure_future(script(self, self.control))
            await asyncio.wait({running, beside}, return_when=asyncio.FIRST_COMPLETED)
            if running.done() and not beside.done():
                beside.cancel()
            else:
                await beside
                os.kill(os.getpid(), signal.SIGTERM)
            return await asyncio.wait_for(running, 10)
        finally:
            running.cancel()
            run_dir.close()


@pytest.fixture
def house(tmp_path, monkeypatch):
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    house = House(tmp_path, monkeypatch)
    yield house
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for handler in list(logging.getLogger().handlers):
        if type(handler).__name__ == "LogWriter":
            logging.getLogger().removeHandler(handler)


async def until(true):
    async with asyncio.timeout(8):
        while not true():  # noqa: ASYNC110 - processes do not tell
            await asyncio.sleep(0.005)


async def ready(control):
    await until(lambda: hasattr(control, "_ports") and not control.not_ready() and control.ports)


async def ask(address):
    """What the worker that accepts knows."""
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        return json.loads(await reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.slow
def test_a_start_brings_the_plan_to_the_workers_and_sigterm_drains_them(house):
    async def script(house, control):
        await ready(control)
        knows = await ask(control.listening[0])
        assert knows["weights"] == {"shop": [95, 5]}
        assert knows["hosts"] == {"a": ["127.0.0.1"], "b": ["127.0.0.1"]}
        assert len(knows["secrets"]["cookie"][0]) >= 32
        assert control.facts.generation == 1
        assert control.facts.worker(0).up
        house.pid = knows["pid"]

    assert house.play(script) == 0
    assert birth(house.pid) is None
    assert house.access.read_text() == '{"plan":1}\n'
    assert "draining" in house.control.not_ready()


@pytest.mark.slow
def test_a_reload_sends_only_what_changed_and_a_bad_file_changes_nothing(house):
    async def script(house, control):
        await ready(control)
        before = await ask(control.listening[0])
        house.write(weight=50)
        await until(lambda: control.facts.generation == 2)
        await until(lambda: control._supervisor.places[0].generation == 2)
        after = await ask(control.listening[0])
        assert after["weights"] == {"shop": [50, 5]}
        assert (after["pid"], after["received"]) == (before["pid"], before["received"] + 1)
        house.path.write_text("upstreams: [\n")
        await until(lambda: not control.facts.last_reload_success)
        assert control.facts.problems[0].startswith(f"{house.path}:")
        house.path.unlink()
        await until(lambda: control.facts.reload_failures >= 2)
        house.path.mkdir()
        await until(lambda: control.facts.reload_failures >= 3)
        assert (await ask(control.listening[0]))["weights"] == {"shop": [50, 5]}
        assert control.not_ready() == []
        house.path.rmdir()
        house.write(weight=60)
        await until(lambda: control.facts.last_reload_success)
        assert control.facts.problems == []
        assert control.facts.generation == 3

    assert house.play(script) == 0


@pytest.mark.slow
def test_sighup_reads_the_file_again_where_events_do_not_come(house):
    async def script(house, control):
        await ready(control)
        house.monkeypatch.setattr(control._reloader, "_seen", ())
        house.write(weight=70)
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: control.facts.generation == 2)

    assert house.play(script) == 0


@pytest.mark.slow
def test_workers_become_more_and_fewer_while_the_others_serve(house):
    async def script(house, control):
        await ready(control)
        first = control.facts.worker(0).pid
        house.workers = 3
        house.write()
        await until(lambda: control._supervisor.serving == 3)
        assert control._inventory.cells.workers == 3
        house.workers = 1
        house.write()
        await until(lambda: control._supervisor.serving == 1 and control._supervisor.draining == 0)
        assert control.facts.worker(0).pid == first
        assert [control.facts.worker(index).left for index in range(3)] == [False, True, True]
        assert [control.facts.worker(index).restarts for index in range(3)] == [0, 0, 0]
        house.workers = 2
        house.write()
        await until(lambda: control._supervisor.serving == 2)
        assert control.facts.worker(1).restarts == 0
        assert control.facts.worker(1).up

    assert house.play(script) == 0


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_counted_with_the_plan_in_force(house):
    async def script(house, control):
        await ready(control)
        first = (await ask(control.listening[0]))["pid"]
        os.kill(first, signal.SIGKILL)
        second = (await ask(control.listening[0]))["pid"]  # waits in the backlog until there is one again
        assert second != first
        assert control.facts.worker(0).restarts == 1

    assert house.play(script) == 0


@pytest.mark.slow
def test_workers_old_and_new_are_told_what_is_unhealthy_and_drained(house):
    text = CONFIG.format(weight=95, workers=1, access_log="off").replace(":1]", ":1], health: tcp")
    house.path.write_text(text)
    dead = "127.0.0.1:1:False:"

    async def script(house, control):
        await ready(control)
        address = control.listening[0]

        async def told(health, other_than=0):
            """The worker that has been told this."""
            knows = await ask(address)
            async with asyncio.timeout(8):
                while knows["health"] != health or knows["pid"] == other_than:
                    await asyncio.sleep(0.01)
                    knows = await ask(address)
            return knows["pid"]

        await told({"a": [[dead], []]})
        await control.endpoints.drain("a", "http://127.0.0.1:1", "a new disk", "ann", force=True)
        first = await told({"a": [[dead], [dead]]})
        os.kill(first, signal.SIGKILL)
        await told({"a": [[dead], [dead]]}, other_than=first)
        counted = control.facts.health_checks["a", "http://127.0.0.1:1"]
        assert counted["unreachable"] >= 1
        house.write()  # without health; the drain stays
        await told({"a": [[], [dead]]})

    assert house.play(script) == 0


@pytest.mark.slow
def test_killed_faults_stay_killed_over_workers_that_die_and_starts(house):
    house.path.write_text(f"state: sqlite:{house.tmp_path}/state.db\n{house.path.read_text()}")

    async def killed(control):
        return (await ask(control.listening[0]))["faults_killed"]

    async def script(house, control):
        await ready(control)
        assert await killed(control) is False
        await control.faults.throw("enough", "alice")
        assert await killed(control) is True
        os.kill((await ask(control.listening[0]))["pid"], signal.SIGKILL)
        await until(lambda: control.facts.worker(0).restarts == 1 and control._supervisor.serving == 1)
        assert await killed(control) is True

    async def script_after(house, control):
        await ready(control)
        assert await killed(control) is True
        assert (control.faults.kill.reason, control.faults.kill.by) == ("enough", "alice")
        assert control.facts.faults_killed
        await control.faults.lift("alice")
        assert await killed(control) is False
        assert not control.facts.faults_killed

    assert house.play(script) == 0
    assert house.play(script_after) == 0


@pytest.mark.slow
def test_an_access_log_can_be_moved_and_turned_off_while_running(house):
    async def script(house, control):
        await ready(control)
        moved = house.tmp_path / "moved.log"
        house.write(weight=1, access_log=moved)
        await until(moved.exists)
        house.write(weight=2, access_log="off")
        await until(lambda: control._access.target == "off")

    assert house.play(script) == 0


@pytest.mark.slow
def test_a_plan_that_workers_refuse_shows(house):
    async def script(house, control):
        await until(lambda: control.facts.problems)
        assert control.facts.problems == ["worker 0 cannot take plan 1: not today"]
        assert control.not_ready() == ["no worker serves a plan"]

    assert house.play(script, manner="refuses") == 0


@pytest.mark.slow
def test_a_worker_that_does_not_drain_is_killed_by_a_second_signal(house):
    async def script(house, control):
        await ready(control)
        os.kill(os.getpid(), signal.SIGINT)
        await until(control.not_ready)

    started = time.monotonic()
    assert house.play(script, manner="deaf") == 0
    assert time.monotonic() - started < 3


@pytest.mark.slow
def test_an_address_in_use_ends_the_start(house):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        house.path.write_text(house.path.read_text().replace("127.0.0.1:0", f"127.0.0.1:{port}"))

        async def script(house, control):
            await asyncio.Event().wait()

        with pytest.raises(ListenError, match=f"listen: cannot listen on 127.0.0.1:{port}"):
            house.play(script)


def leave_alone(house, manner=""):
    """Run a control process and kill it with -9; its workers' pids and where they listen."""
    control = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.control.left_alone", house.path, house.tmp_path / "run", FAKE],
        stdout=subprocess.PIPE,
        env={**os.environ, "FAKE_WORKER": manner},
    )
    found = json.loads(control.stdout.readline())
    control.kill()
    control.wait()
    control.stdout.close()
    return found


@pytest.mark.slow
def test_workers_outlive_their_control_and_the_next_takes_them_over(house):
    house.workers = 2
    house.write()
    left = leave_alone(house)
    assert asyncio.run(ask(left["address"]))["pid"] in left["pids"]

    async def script(house, control):
        await ready(control)
        await until(lambda: all(place.generation == 2 for place in control._supervisor.places.values()))
        assert [process.pid for process in (place.process for place in control._supervisor.places.values())] == left[
            "pids"
        ]
        assert control.listening == [left["address"]]
        assert control.spec["secrets"] == left["secrets"]
        assert control.facts.worker(0).restarts == 0
        os.kill(left["pids"][0], signal.SIGKILL)
        await until(lambda: control.facts.worker(0).restarts == 1 and control._supervisor.serving == 2)

    assert house.play(script) == 0
    assert [birth(pid) for pid in left["pids"]] == [None, None]


@pytest.mark.slow
def test_killed_faults_stay_killed_when_control_is_without_a_store_and_dies(house, monkeypatch):
    monkeypatch.setenv("LEFT_ALONE_KILLS_FAULTS", "1")
    left = leave_alone(house)
    assert asyncio.run(ask(left["address"]))["faults_killed"] is True

    async def script(house, control):
        await ready(control)
        assert control.faults.kill.reason == "before it died"
        assert (await ask(left["address"]))["faults_killed"] is True

    assert house.play(script) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1)])
def test_survivors_serve_on_where_another_number_is_wanted(house, before, after):
    house.workers = before
    house.write()
    left = leave_alone(house)
    house.workers = after
    house.write()

    async def script(house, control):
        await ready(control)
        await until(lambda: control._supervisor.serving == after and control._supervisor.draining == 0)
        assert control.facts.worker(0).pid in left["pids"]
        assert control.listening == [left["address"]]

    assert house.play(script) == 0


@pytest.mark.slow
def test_workers_of_another_version_leave_when_ours_serve(house):
    left = leave_alone(house, manner="foreign")

    async def script(house, control):
        await ready(control)
        assert control.listening == [left["address"]]
        await until(lambda: birth(left["pids"][0]) is None)
        assert (await ask(left["address"]))["pid"] not in left["pids"]

    assert house.play(script) == 0


@pytest.mark.slow
def test_a_survivor_that_cannot_be_reached_is_killed(house):
    left = leave_alone(house)
    os.kill(left["pids"][0], signal.SIGSTOP)
    (house.tmp_path / "run" / "worker-0.sock").unlink(missing_ok=True)

    async def script(house, control):
        await ready(control)
        assert birth(left["pids"][0]) is None

    assert house.play(script) == 0
