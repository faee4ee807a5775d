"""Lists of units under a running proxy: edited under load, broken, gone, and of a million."""

import os
import signal
from pathlib import Path

import pytest

from .harness.load import Wrk
from .harness.origin import Origin, answer
from .harness.processes import kill
from .harness.proxy import Config, Proxy, configuration, upstream
from .harness.wait import wait_for


def listed(stable: Origin, canary: Origin, **more: object) -> Config:
    """Units of `beta.txt` get the canary, and nobody else."""
    return configuration(
        {"stable": upstream(stable), "canary": upstream(canary)},
        [
            {
                "name": "main",
                "unit": [{"header": "x-user"}],
                "versions": {"stable": {"upstream": "stable", "weight": 1}, "canary": {"upstream": "canary"}},
                "rules": [{"segment": "beta", "version": "canary"}],
            }
        ],
        segments={"beta": {"units_file": "beta.txt"}},
        **more,
    )


def gets(proxy: Proxy, unit: str) -> bytes:
    return proxy.get("/", "main.test", f"X-User: {unit}").body


def rename_over(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.rename(path)


@pytest.mark.parametrize("workers", [1, 2])
def test_list_edited_under_load_counts_at_once_and_loses_no_request(tmp_path: Path, workers: int) -> None:
    beta = tmp_path / "beta.txt"
    beta.write_text("alice\n")
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(listed(stable, canary, workers=workers), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=8, seconds=6) as load,
    ):
        generation = proxy.generation()
        assert (gets(proxy, "alice"), gets(proxy, "bob")) == (b"canary", b"stable")
        beta.write_text("alice\nbob\n")
        wait_for(lambda: all(gets(proxy, "bob") == b"canary" for _ in range(8)), "bob in the list")
        rename_over(beta, "# nobody but carol\ncarol\n")
        wait_for(lambda: all(gets(proxy, "carol") == b"canary" for _ in range(8)), "carol in the list")
        assert (gets(proxy, "alice"), gets(proxy, "bob")) == (b"stable", b"stable")
        assert proxy.generation() == generation  # nothing was parsed, and no plan was made
        done, wrong = load.finish()
        assert wrong == ""
        assert done > 100


def test_file_that_is_gone_or_no_list_leaves_the_last_good_one(tmp_path: Path) -> None:
    beta = tmp_path / "beta.txt"
    beta.write_text("alice\n")
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Proxy(listed(stable, canary), tmp_path) as proxy,
    ):
        beta.unlink()
        proxy.wait_metric(0, "tidegate_list_current", list="beta.txt")
        assert gets(proxy, "alice") == b"canary"
        (shown,) = proxy.api("/api/v1/segments")["lists"]
        assert shown["units"] == 1
        assert not shown["current"]
        assert shown["problem"].startswith("there is no file")
        beta.write_bytes(b"\xff\xfe\x00\n" * 9)
        wait_for(
            lambda: "is no list" in proxy.api("/api/v1/segments")["lists"][0]["problem"], "the file to be looked at"
        )
        assert gets(proxy, "alice") == b"canary"
        proxy.edit(lambda config: config["routes"][0]["versions"]["stable"].update(weight=2))
        assert gets(proxy, "alice") == b"canary"
        beta.write_text("bob\n")
        proxy.wait_metric(1, "tidegate_list_current", list="beta.txt")
        wait_for(lambda: gets(proxy, "bob") == b"canary", "bob in the list")
        assert gets(proxy, "alice") == b"stable"
        assert proxy.metrics().value("tidegate_list_reads_total", list="beta.txt", outcome="refused") == 2


def test_worker_and_control_that_come_later_have_the_list(tmp_path: Path) -> None:
    beta = tmp_path / "beta.txt"
    beta.write_text("alice\n")
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Proxy(listed(stable, canary), tmp_path) as proxy,
    ):
        (worker,) = proxy.workers()
        os.kill(worker, signal.SIGKILL)
        proxy.wait_metric(1, "tidegate_worker_restarts_total")
        proxy.wait_metric(1, "tidegate_worker_up")
        assert gets(proxy, "alice") == b"canary"
        kill(proxy.control())
        assert gets(proxy, "alice") == b"canary"
        beta.write_text("bob\n")
        wait_for(lambda: gets(proxy, "bob") == b"canary", "the next control process to lend its list", 20)
        assert gets(proxy, "alice") == b"stable"


def test_list_comes_and_goes_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "beta.txt").write_text("alice\n")
    (tmp_path / "more.txt").write_text("bob\n")
    with (
        Origin(answer(b"stable")) as stable,
        Origin(answer(b"canary")) as canary,
        Proxy(listed(stable, canary), tmp_path) as proxy,
    ):
        proxy.edit(lambda config: config["segments"].update(beta={"units_file": "more.txt"}))
        assert (gets(proxy, "alice"), gets(proxy, "bob")) == (b"stable", b"canary")
        assert [one["name"] for one in proxy.api("/api/v1/segments")["lists"]] == ["more.txt"]
        proxy.edit(lambda config: config["segments"].update(beta={"units": ["carol"]}))
        assert (gets(proxy, "carol"), gets(proxy, "bob")) == (b"canary", b"stable")
        assert proxy.api("/api/v1/segments")["lists"] == []
        proxy.edit(lambda config: config["segments"].update(beta={"units_file": "more.txt"}))
        assert gets(proxy, "bob") == b"canary"
        (tmp_path / "more.txt").write_text("dave\n")
        wait_for(lambda: gets(proxy, "dave") == b"canary", "dave in the list")
