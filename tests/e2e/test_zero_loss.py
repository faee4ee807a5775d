"""Operating on a proxy under load: a flip, more and fewer workers, another program. Not one request fails."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from .harness.load import Callers, Wrk
from .harness.origin import Origin, answer
from .harness.processes import alive
from .harness.proxy import Config, Proxy, configuration, single, upstream
from .harness.wait import wait_for
from .test_streaming import echoes, open_tunnel, upgraded
from .test_workers import went_back

FLIPS = 200
LONG = 240
"""Seconds that the load would go on; it is stopped before. A loaded machine needs far longer than an idle one."""
CALLERS = 6


def blue_green(blue: Origin, green: Origin) -> Config:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}, "client_ip"],
        "versions": {"blue": {"upstream": "blue"}, "green": {"upstream": "green"}},
        "active": "blue",
    }
    return configuration({"blue": upstream(blue), "green": upstream(green)}, [route])


class Once(Callers):
    """Callers of which every request has a connection of its own."""

    def __init__(self, address: tuple[str, int], count: int = 4) -> None:
        super().__init__(address, count, "Connection: close")


@pytest.mark.timeout(LONG)
def test_blue_green_flips_under_load_lose_no_request(tmp_path: Path) -> None:
    with (
        Origin(answer(b"blue"), record=False) as blue,
        Origin(answer(b"green"), record=False) as green,
        Proxy(blue_green(blue, green), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=LONG) as load,
        Once(proxy.address) as callers,
    ):
        callers.wait_more(20)
        for flip in range(FLIPS):
            active = ("green", "blue")[flip % 2]
            proxy.edit(lambda config, active=active: config["routes"][0].update(active=active))
            assert load.running
        load.stop()
        done, wrong = load.finish()
        callers.stop()
        assert wrong == ""
        assert (callers.broken, callers.refused, set(callers.statuses)) == (0, 0, {200})
        assert done > FLIPS
        counted = proxy.metrics()
        served = {one: counted.value("tidegate_requests_total", version=one) for one in ("blue", "green")}
        assert min(served.values()) > done / 10, served
        assert counted.value("tidegate_errors_total") == 0


def test_more_and_fewer_workers_under_load_lose_no_request(tmp_path: Path) -> None:
    with (
        Origin(record=False) as origin,
        Proxy(single(origin), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=LONG) as load,
        Callers(proxy.address, CALLERS) as callers,
        Once(proxy.address) as others,
    ):
        [first] = proxy.workers()
        before = proxy.metrics().counters()
        for count in (3, 1, 2, 1):
            others.wait_more(50)
            proxy.edit(lambda config, count=count: config.update(workers=count))
            wait_for(lambda count=count: len(proxy.workers()) == count, f"{count} workers", 20)
            wait_for(lambda count=count: proxy.metrics().value("tidegate_worker_up") == count, "all of them to serve")
            assert first in proxy.workers()
            after = proxy.metrics().counters()
            assert went_back(before, after) == {}
            before = after
            others.wait_more(50)
        load.stop()
        _, wrong = load.finish()
        callers.stop()
        others.stop()
        assert wrong == ""
        for one in (callers, others):
            assert (one.broken, one.refused, set(one.statuses)) == (0, 0, {200})
        assert proxy.metrics().value("tidegate_worker_restarts_total") == 0
        proxy.wait_metric(0, "tidegate_in_flight")


def test_a_limit_is_a_total_over_workers_that_came_and_went(tmp_path: Path) -> None:
    with Origin(lambda _connection, _request: origin.released.wait()) as origin:
        with Proxy(single(origin, policy={"limits": {"requests": 4}}), tmp_path) as proxy:
            for count in (3, 1, 2):
                proxy.edit(lambda config, count=count: config.update(workers=count))
                wait_for(lambda count=count: proxy.metrics().value("tidegate_worker_up") == count, "the workers", 20)
                wait_for(lambda count=count: len(proxy.workers()) == count, f"{count} workers", 20)
            wires = [proxy.connect() for _ in range(4)]
            try:
                for number, wire in enumerate(wires):
                    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    origin.wait_connection(number)
                for _ in range(6):  # whichever worker takes them
                    got = proxy.get()
                    assert (got.status, got.get(b"x-tidegate-flags")) == (503, b"UO")
            finally:
                for wire in wires:
                    wire.socket.close()


def test_tunnels_leave_a_version_that_was_flipped_away_one_by_one(tmp_path: Path) -> None:
    with Origin(play=upgraded) as blue, Origin(play=upgraded) as green:
        config = blue_green(blue, green)
        for one in ("blue", "green"):
            config["upstreams"][one]["timeouts"] = {"tunnel_max_age": "2s"}
        with Proxy(config, tmp_path) as proxy:
            on_blue = [proxy.connect() for _ in range(8)]
            for wire in on_blue:
                open_tunnel(wire)
            flipped = time.monotonic()
            proxy.edit(lambda config: config["routes"][0].update(active="green"))
            with proxy.connect() as on_green:
                open_tunnel(on_green)
                counts = [proxy.metrics().value("tidegate_tunnels")]
                assert counts == [9]

                def old_ones_are_gone() -> bool:
                    counts.append(proxy.metrics().value("tidegate_tunnels"))
                    assert counts[-1] == 9 or time.monotonic() - flipped >= 1.0, "each has half of its time at least"
                    return counts[-1] == 1

                wait_for(old_ones_are_gone, "the end of the old tunnels")
                assert len(set(counts)) >= 4, "not all at once"
                for wire in on_blue:
                    wire.ends()
                    wire.socket.close()
                assert echoes(on_green, b"still here")
                assert proxy.metrics().value("tidegate_tunnels_retired_total") == 8
            assert "8 tunnels are of versions that get no traffic any more" in proxy.log()


class Installed:
    """This program, installed a second time somewhere else and interpreted there; `spoil` breaks it."""

    def __init__(self, directory: Path) -> None:
        import proxy

        self.home = directory
        self.package = directory / "proxy"
        shutil.copytree(Path(proxy.__path__[0]), self.package, ignore=shutil.ignore_patterns("__pycache__", "*.so"))

    def spoil(self, module: str) -> None:
        """Have `module` fail when it is imported."""
        (self.package / module).write_text('raise RuntimeError("spoilt")\n')

    def upgrade(self, proxy: Proxy, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `tidegate upgrade` of this installation on `proxy`."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "proxy", "upgrade", "-c", str(proxy.file), *arguments],
            env={**os.environ, "PYTHONPATH": str(self.home)},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def runs(self, pid: int) -> bool:
        """Whether process `pid` is of this installation."""
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return any(one.startswith(f"PYTHONPATH={self.home}".encode()) for one in environ)


@pytest.fixture
def fresh(tmp_path: Path) -> Installed:
    return Installed(tmp_path / "fresh")


@pytest.mark.parametrize("workers", [1, 2])
def test_upgrade_under_load_loses_no_request(tmp_path: Path, fresh: Installed, workers: int) -> None:
    with (
        Origin(record=False) as origin,
        Proxy(single(origin, workers=workers, access_log=str(tmp_path / "access.log")), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=LONG) as load,
        Callers(proxy.address, CALLERS) as callers,
        Once(proxy.address) as others,
    ):
        for times in (1, 2):  # an upgraded one can be upgraded, too
            old = {*proxy.workers(), proxy.control()}
            before = proxy.metrics().counters()
            others.wait_more(50)
            done = fresh.upgrade(proxy)
            assert (done.returncode, done.stderr) == (0, "")
            assert "the old program is gone" in done.stdout
            others.wait_more(50)
            callers.wait_more(50)
            assert not any(alive(pid) for pid in old)
            assert len(proxy.workers()) == workers
            assert all(fresh.runs(pid) for pid in (proxy.control(), *proxy.workers())), times
            after = proxy.metrics()
            assert went_back(before, after.counters()) == {}
            assert after.value("tidegate_worker_up") == workers
            assert after.value("tidegate_worker_restarts_total") == 0
        load.stop()
        answered, wrong = load.finish()
        callers.stop()
        others.stop()
        assert wrong == ""
        for one in (callers, others):
            assert (one.broken, one.refused, set(one.statuses)) == (0, 0, {200})
        proxy.wait_metric(0, "tidegate_in_flight")
        counted = proxy.metrics().value("tidegate_requests_total")
        # What wrk had not waited for when it was stopped counts, too.
        assert 0 <= counted - answered - callers.answered() - others.answered() <= 16
        # No line is lost in an upgrade; where control is too slow for the load, what is dropped is counted.
        dropped = sum(proxy.metrics().by("tidegate_access_log_lines_dropped_total", "reason").values())
        lines = counted - dropped
        wait_for(
            lambda: len((tmp_path / "access.log").read_bytes().splitlines()) == lines,
            f"{lines:g} access log lines and {dropped:g} dropped",
        )


def test_a_program_with_other_counters_begins_to_count_anew(tmp_path: Path, fresh: Installed) -> None:
    with (fresh.package / "telemetry" / "counters.py").open("a") as counters:
        counters.write("\nE_NEW: Final = 1\n")
    with (
        Origin(record=False) as origin,
        Proxy(single(origin, workers=2), tmp_path) as proxy,
        Callers(proxy.address, CALLERS) as callers,
        Once(proxy.address) as others,
    ):
        old = {*proxy.workers(), proxy.control()}
        others.wait_more(50)
        done = fresh.upgrade(proxy)
        assert (done.returncode, done.stderr) == (0, "")
        assert "another layout of the counters" in proxy.log()
        assert "counting starts anew" in proxy.log()
        assert not any(alive(pid) for pid in old)
        others.wait_more(50)
        callers.stop()
        others.stop()
        for one in (callers, others):
            assert (one.broken, one.refused, set(one.statuses)) == (0, 0, {200})
        counted = proxy.metrics().value("tidegate_requests_total")
        assert 50 <= counted < callers.answered() + others.answered()


def test_the_upgraded_program_is_what_is_started_again(tmp_path: Path, fresh: Installed) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        assert fresh.upgrade(proxy).returncode == 0
        [worker], control = proxy.workers(), proxy.control()
        os.kill(control, 9)
        wait_for(lambda: not alive(control), "the death of control")
        wait_for(proxy.ready, "the next control", 20)
        assert fresh.runs(proxy.control())
        assert proxy.workers() == [worker]
        assert proxy.get().status == 200
        proxy.edit(lambda config: config.update(workers=2))
        wait_for(lambda: proxy.metrics().value("tidegate_worker_up") == 2, "another worker")


def test_a_wrong_configuration_is_refused_before_anything_is_touched(tmp_path: Path, fresh: Installed) -> None:
    with Origin() as origin, Proxy(single(origin, watch="poll"), tmp_path) as proxy:
        processes = {*proxy.workers(), proxy.control()}
        proxy.save("listen: nonsense\n")
        done = fresh.upgrade(proxy, "--run-dir", proxy.config["run_dir"])
        assert done.returncode == 1
        assert "nothing was touched" in done.stderr
        assert {*proxy.workers(), proxy.control()} == processes
        assert proxy.get().status == 200


@pytest.mark.parametrize(
    ("module", "arguments", "why"),
    [
        ("control/start.py", (), "ended with code 1 before it served"),
        ("dataplane/worker.py", ("--limit", "4"), "did not serve within 4 s"),
    ],
)
def test_a_program_that_does_not_come_to_serve_leaves_the_old_one_in_place(
    tmp_path: Path, fresh: Installed, module: str, arguments: tuple[str, ...], why: str
) -> None:
    fresh.spoil(module)
    with (
        Origin(record=False) as origin,
        Proxy(single(origin, workers=2), tmp_path) as proxy,
        Callers(proxy.address, CALLERS) as callers,
        Once(proxy.address) as others,
    ):
        proxy.tracebacks_expected = True
        workers = proxy.workers()
        before = proxy.metrics().counters()
        done = fresh.upgrade(proxy, *arguments)
        assert done.returncode == 1
        assert why in done.stderr
        assert "the old program goes on" in done.stderr
        wait_for(proxy.ready, "the old control", 20)
        wait_for(lambda: proxy.workers() == workers, "nobody but the old workers")
        assert not fresh.runs(proxy.control())
        others.wait_more(50)
        callers.wait_more(50)
        callers.stop()
        others.stop()
        for one in (callers, others):
            assert (one.broken, one.refused, set(one.statuses)) == (0, 0, {200})
        assert went_back(before, proxy.metrics().counters()) == {}


def test_without_a_proxy_there_is_nothing_to_upgrade(tmp_path: Path, fresh: Installed) -> None:
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        proxy.file.write_text(f"run_dir: {tmp_path}/run\n")
        done = fresh.upgrade(proxy, "--run-dir", f"{tmp_path}/run")
        assert done.returncode == 1
        assert "no running proxy answers" in done.stderr


def test_tunnels_and_long_answers_outlive_the_start_of_the_new_program(tmp_path: Path, fresh: Installed) -> None:
    """What is under way in the old workers goes on while the new ones serve, within the drain's limit."""
    held = threading.Event()

    def respond(connection: object, request: object) -> None:
        if request.target == b"/held":  # type: ignore[attr-defined]
            held.set()
            origin.released.wait()
        answer()(connection, request)  # type: ignore[arg-type]

    with (
        Origin(respond) as origin,
        Proxy(single(origin, drain={"delay": "0s", "limit": "20s"}), tmp_path) as proxy,
        proxy.connect() as busy,
    ):
        [old] = proxy.workers()
        busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        assert held.wait(5)
        upgrade = threading.Thread(target=fresh.upgrade, args=(proxy,))
        upgrade.start()
        wait_for(lambda: any(pid != old for pid in proxy.workers()), "a new worker", 20)
        wait_for(lambda: proxy.ready() and proxy.metrics().value("tidegate_worker_up") == 2, "both to run", 20)
        assert proxy.get().status == 200
        assert alive(old)
        origin.released.set()
        assert busy.response().status == 200
        upgrade.join()
        wait_for(lambda: not alive(old), "the old worker to end")
        assert proxy.metrics().value("tidegate_requests_total", code="200") == 2
