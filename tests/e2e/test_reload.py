"""The file changes under a running proxy: valid or not, however it was saved, nobody's request is lost."""

import signal
from pathlib import Path

import pytest

from .harness.load import Wrk
from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, dump, single
from .harness.wait import wait_for
from .test_split import split_config


def salted(number: int) -> dict[str, str]:
    return {"x-save": str(number)}


def saved(config: Config, number: int) -> str:
    """The configuration as save number `number` writes it; the upstream is told the number."""
    config["routes"][0]["rewrite"] = {"set_headers": salted(number)}
    return dump(config)


def serves(proxy: Proxy, origin: Origin, number: int) -> bool:
    """Whether the plan in force is that of save number `number`."""
    assert proxy.get().status == 200
    return origin.requests[-1].get(b"x-save") == str(number).encode()


def test_editing_a_weight_under_load_loses_no_request(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(split_config(stable, canary, 5), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=4) as load,
    ):
        wait_for(lambda: proxy.metrics().value("tidegate_requests_total") > 100, "load")
        connections = len(stable.connections) + len(canary.connections)
        weight = 5
        edits = 0
        while load.running and edits < 20:
            weight = 100 - weight

            def change(config: Config, weight: int = weight) -> None:
                versions = config["routes"][0]["versions"]
                versions["stable"]["weight"], versions["canary"]["weight"] = 100 - weight, weight

            proxy.edit(change)
            edits += 1
        done, wrong = load.finish()
        assert wrong == ""
        assert done > 100
        assert edits >= 5
        # Weights alone touch no connection: what was open before the first edit is what was used to the end.
        assert len(stable.connections) + len(canary.connections) <= max(connections, 1) + 32


def test_bad_file_keeps_the_old_plan_and_shows_every_error(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        good = dump(proxy.config)
        generation = proxy.generation()
        proxy.save(good.replace("upstream: origin", "upstream: nowhere").replace("drain:", "drian:"))
        proxy.wait_metric(0, "tidegate_config_last_reload_success")
        assert proxy.get().status == 200
        assert proxy.generation() == generation
        proxy.wait_log("nowhere")
        proxy.wait_log("drian")
        proxy.save("listen: [")
        wait_for(lambda: proxy.log().count("tidegate.yaml") > 1, "the second error in the log")
        assert proxy.get().status == 200
        proxy.save(good)
        proxy.wait_metric(1, "tidegate_config_last_reload_success")
        assert proxy.get().status == 200


def test_storm_of_saves_settles_on_the_last(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        for number in range(100):
            proxy.save(saved(proxy.config, number))
        wait_for(lambda: serves(proxy, origin, 99), "the last of 100 saves")
        proxy.wait_metric(1, "tidegate_config_last_reload_success")
        assert proxy.generation() <= 101


def test_file_replaced_by_rename_is_read(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        for number in (1, 2):  # the second shows that the new file is watched, too
            proxy.replace(saved(proxy.config, number))
            wait_for(lambda number=number: serves(proxy, origin, number), f"rename {number}")
        proxy.save(saved(proxy.config, 3))
        wait_for(lambda: serves(proxy, origin, 3), "a save in place after renames")


def test_file_swapped_through_a_symbolic_link_is_read(tmp_path: Path) -> None:
    """As Kubernetes does it with a ConfigMap: file -> ..data/file, ..data -> a directory, swapped by renaming the link."""
    mount = tmp_path / "mount"
    mount.mkdir()
    file = mount / "tidegate.yaml"
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path, file=file)

        def swap(number: int) -> None:
            directory = mount / f"..{number}"
            directory.mkdir()
            (directory / "tidegate.yaml").write_text(saved(proxy.config, number))
            fresh = mount / "..data_tmp"
            fresh.symlink_to(directory.name)
            fresh.rename(mount / "..data")

        swap(0)
        file.symlink_to("..data/tidegate.yaml")
        with proxy:
            for number in (1, 2, 3):
                swap(number)
                wait_for(lambda number=number: serves(proxy, origin, number), f"swap {number}")


@pytest.mark.parametrize("how", ["deleted", "emptied", "directory", "unreadable bytes"])
def test_file_that_is_no_file_any_more_keeps_the_old_plan(tmp_path: Path, how: str) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        good = saved(proxy.config, 7)
        if how == "emptied":
            proxy.save("")
        elif how == "unreadable bytes":
            proxy.file.write_bytes(b"\xff\xfe\x00listen: \x80")
        else:
            proxy.file.unlink()
            if how == "directory":
                proxy.file.mkdir()
        proxy.wait_metric(0, "tidegate_config_last_reload_success")
        assert proxy.get().status == 200
        assert proxy.ready()
        if how == "directory":
            proxy.file.rmdir()
        proxy.replace(good)
        wait_for(lambda: serves(proxy, origin, 7), "the file to be read again")
        proxy.wait_metric(1, "tidegate_config_last_reload_success")


def test_sighup_reads_the_file(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        before = proxy.metrics().value("tidegate_config_reloads_total")
        proxy.signal(signal.SIGHUP)
        wait_for(lambda: proxy.metrics().value("tidegate_config_reloads_total") > before, "a reload")
        assert proxy.get().status == 200
        assert proxy.process is not None
        assert proxy.process.poll() is None


def test_reload_tells_what_changes_and_whom_it_moves(tmp_path: Path) -> None:
    with Origin() as stable, Origin() as canary, Proxy(split_config(stable, canary, 5), tmp_path) as proxy:

        def change(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["stable"]["weight"], versions["canary"]["weight"] = 90, 10

        proxy.edit(change)
        proxy.wait_log("shop")
        line = next(line for line in reversed(proxy.log().splitlines()) if "canary" in line)
        assert "%" in line or "share" in line or "moves" in line, line


def test_requests_begun_before_a_reload_end_on_their_plan(tmp_path: Path) -> None:
    with Origin() as origin, Origin(answer(b"new")) as other, Proxy(single(origin), tmp_path) as proxy:
        origin.respond = lambda connection, request: (connection.hold(), answer(b"old")(connection, request))[1]
        with proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            origin.wait_requests(1)
            proxy.edit(lambda config: config["upstreams"]["origin"].update(endpoints=[other.url]))
            assert proxy.get().body == b"new"
            origin.released.set()
            assert wire.response().body == b"old"
            assert wire.get().body == b"new"


def test_restart_only_keys_are_named_and_not_ignored_in_silence(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy:
        proxy.config["state"] = f"sqlite:{tmp_path / 'other.db'}"
        proxy.save(dump(proxy.config))
        proxy.wait_log("takes effect with the next start only: state")
        assert not (tmp_path / "other.db").exists()
        assert proxy.get().status == 200
