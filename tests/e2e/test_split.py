"""The split over the real wire: shares, stickiness, and nobody thrown out of a growing canary."""

from pathlib import Path

import pytest
import yaml

from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, upstream

UNITS = 10_000
BATCH = 250
"""Requests sent at once on one connection."""


def split_config(stable: Origin, canary: Origin, weight: float) -> Config:
    return configuration(
        {"v1": upstream(stable), "v2": upstream(canary)},
        [
            {
                "name": "shop",
                "unit": [{"header": "x-user-id"}],
                "versions": {
                    "stable": {"upstream": "v1", "weight": 100 - weight},
                    "canary": {"upstream": "v2", "weight": weight, "fallback": "stable"},
                },
            }
        ],
    )


def assignments(proxy: Proxy, units: range) -> dict[int, bytes]:
    """Which version answers each unit."""
    found: dict[int, bytes] = {}
    with proxy.connect(record=False) as wire:
        for start in range(units.start, units.stop, BATCH):
            batch = range(start, min(start + BATCH, units.stop))
            wire.send(b"".join(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-%d\r\n\r\n" % unit for unit in batch))
            for unit in batch:
                found[unit] = wire.response().body
    return found


def test_units_are_split_by_weight_and_stay_when_the_canary_grows(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(split_config(stable, canary, 5), tmp_path) as proxy,
    ):
        first = assignments(proxy, range(UNITS))
        share = sum(version == b"canary" for version in first.values()) / UNITS
        assert abs(share - 0.05) < 0.01

        def grow(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["stable"]["weight"], versions["canary"]["weight"] = 80, 20

        proxy.edit(grow)
        second = assignments(proxy, range(UNITS))
        share = sum(version == b"canary" for version in second.values()) / UNITS
        assert abs(share - 0.20) < 0.01
        thrown_out = [unit for unit in first if first[unit] == b"canary" and second[unit] != b"canary"]
        assert thrown_out == []

        counted = proxy.metrics()
        assert counted.value("tidegate_decisions_total", route="shop", reason="split") == 2 * UNITS
        assert counted.value("tidegate_requests_total", route="shop", version="canary", code="200") == sum(
            version == b"canary" for found in (first, second) for version in found.values()
        )
        assert counted.value("tidegate_weight_percent", version="canary", source="file") == 20
        assert counted.value("tidegate_weight_percent", version="canary", source="effective") == 20


SHIPPED = Path(__file__).parents[2] / "config" / "tidegate.yaml"


@pytest.mark.skipif(not SHIPPED.exists(), reason="the configuration that is shipped is not beside the tests")
def test_shipped_configuration_splits_as_it_says(tmp_path: Path) -> None:
    """config/tidegate.yaml as it is, but for the addresses."""
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Origin(record=False) as shadow,
    ):
        config = yaml.safe_load(SHIPPED.read_text())
        del config["listen"], config["admin"]
        config["drain"] = {"delay": "0s", "limit": "2s"}
        for name, origin in (("shop-v1", stable), ("shop-v2", canary), ("shop-shadow", shadow)):
            config["upstreams"][name]["endpoints"] = [origin.url]
        with Proxy(config, tmp_path) as proxy:
            found = assignments(proxy, range(UNITS))
            weight = config["routes"][0]["versions"]["canary"]["weight"]
            share = sum(version == b"canary" for version in found.values()) / UNITS
            assert abs(share - weight / 100) < 0.01
            mirrored = proxy.metrics().by("tidegate_mirror_total", "outcome", route="shop")
            assert sum(mirrored.values()) == UNITS
            assert abs((UNITS - mirrored["sampled_out"]) / UNITS - 0.10) < 0.01


def test_rules_come_before_the_split_and_deny_before_all(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as stable, Origin(answer(b"canary")) as canary:
        config = split_config(stable, canary, 0)
        config["segments"] = {"staff": {"header": "x-user-email", "suffix": "@example.com"}}
        config["routes"][0] |= {
            "debug": {"from": ["127.0.0.0/8"]},
            "preview": {"header": "x-tidegate-version", "from": ["127.0.0.0/8"]},
            "rules": [
                {"units": ["bob"], "deny": "canary"},
                {"units": ["alice", "bob"], "version": "canary"},
                {"segment": "staff", "version": "canary"},
            ],
        }
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:

            def ask(*fields: str) -> tuple[bytes, bytes | None]:
                got = wire.get("/", "a", *fields)
                return got.body, got.get(b"x-tidegate-reason")

            assert ask("X-User-Id: alice") == (b"canary", b"override")
            assert ask("X-User-Id: bob")[0] == b"stable"
            assert ask("X-User-Id: carol") == (b"stable", b"split")
            assert ask("X-User-Id: carol", "X-User-Email: carol@example.com") == (b"canary", b"segment")
            assert ask("X-User-Id: carol", "X-Tidegate-Version: canary") == (b"canary", b"preview")
            assert ask("X-User-Id: bob", "X-Tidegate-Version: canary")[0] == b"stable"
            assert ask() == (b"stable", b"default")
            assert all(one.get(b"x-tidegate-version") == b"canary" for one in canary.requests)


def test_a_kill_counts_at_once_and_explain_says_what_comes_after_it(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as stable, Origin(answer(b"canary")) as canary:
        config = split_config(stable, canary, 100)
        config["holdouts"] = {"q4": {"percent": 100}}
        config["routes"][0]["rules"] = [{"units": ["alice"], "version": "canary"}]
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:

            def ask(unit: str) -> bytes:
                return wire.get("/", "a", f"X-User-Id: {unit}").body

            def explained() -> tuple[str, str, str]:
                found = proxy.api("/api/v1/explain?route=shop&unit=alice")
                return found["version"], found["reason"], "" if found["next"] is None else found["next"]["reason"]

            assert (ask("alice"), ask("carol")) == (b"canary", b"canary")
            assert explained() == ("canary", "override", "split")

            def kill_version(config: Config) -> None:
                config["routes"][0]["versions"]["canary"]["kill"] = True

            proxy.edit(kill_version)
            assert (ask("alice"), ask("carol")) == (b"stable", b"stable")
            assert explained() == ("stable", "kill", "")

            def hold_out(config: Config) -> None:
                config["routes"][0]["versions"]["canary"]["kill"] = False
                config["routes"][0]["holdout"] = "q4"

            proxy.edit(hold_out)
            assert (ask("alice"), ask("carol")) == (b"canary", b"stable")
            assert explained() == ("canary", "override", "holdout")

            def kill_all(config: Config) -> None:
                config["kill"] = True

            proxy.edit(kill_all)
            assert (ask("alice"), ask("carol")) == (b"stable", b"stable")
            assert explained() == ("stable", "kill", "override")
            reasons = proxy.metrics().by("tidegate_decisions_total", "reason", route="shop")
            assert {name: count for name, count in reasons.items() if count} == {
                "kill": 4, "override": 2, "split": 1, "holdout": 1,
            }  # fmt: skip


def test_minted_cookie_keeps_its_holder(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as stable, Origin(answer(b"canary")) as canary:
        config = split_config(stable, canary, 50)
        config["routes"][0]["unit"] = [{"mint_cookie": "tg_unit"}]
        with Proxy(config, tmp_path) as proxy:
            for _ in range(20):
                with proxy.connect() as wire:
                    first = wire.get("/")
                    minted = first.get(b"set-cookie")
                    assert minted is not None
                    cookie, *attributes = minted.decode().split("; ")
                    assert {"httponly", "samesite=lax", "path=/"} <= {one.lower() for one in attributes}
                    second = wire.get("/", "a", f"Cookie: {cookie}")
                    assert second.body == first.body
                    assert second.get(b"set-cookie") is None
                    forged = wire.get("/", "a", f"Cookie: {cookie}x")
                    assert forged.get(b"set-cookie") is not None


def test_blue_green_flips_by_one_word(tmp_path: Path) -> None:
    with Origin(answer(b"blue")) as blue, Origin(answer(b"green")) as green:
        config = configuration(
            {"one": upstream(blue), "two": upstream(green)},
            [
                {
                    "name": "api",
                    "versions": {"blue": {"upstream": "one"}, "green": {"upstream": "two"}},
                    "active": "blue",
                }
            ],
        )
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            assert wire.get().body == b"blue"
            proxy.edit(lambda config: config["routes"][0].update(active="green"))
            assert wire.get().body == b"green"
            assert proxy.metrics().value("tidegate_weight_percent", version="blue", source="file") == 0
