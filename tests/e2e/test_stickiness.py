"""Records in cookies on a real proxy: kept over weights, restarts and workers, let go when the version is killed."""

from collections.abc import Callable
from pathlib import Path

from .harness.origin import Origin, answer
from .harness.proxy import Config, Proxy, configuration, upstream


def shop(stable: Origin, canary: Origin) -> Config:
    return configuration(
        {"v1": upstream(stable), "v2": upstream(canary)},
        [
            {
                "name": "shop",
                "unit": [{"header": "x-user"}],
                "stickiness": "pinned",
                "versions": {
                    "stable": {"upstream": "v1", "weight": 0},
                    "canary": {"upstream": "v2", "weight": 100},
                },
            }
        ],
        workers=2,
        secrets={"cookie": ["a key of some length"]},
    )


def weigh(stable: int, canary: int, **more: object) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        versions = config["routes"][0]["versions"]
        versions["stable"]["weight"], versions["canary"]["weight"] = stable, canary
        versions["canary"].update(more)

    return change


def test_pinned_units_stay_over_weights_workers_and_a_restart_and_a_kill_frees_them(tmp_path: Path) -> None:
    with (
        Origin(answer(b"stable"), record=False) as stable,
        Origin(answer(b"canary"), record=False) as canary,
        Proxy(shop(stable, canary), tmp_path) as proxy,
    ):
        first = proxy.get("/", "shop.test", "X-User: ann")
        cookie = (first.get(b"set-cookie") or b"").decode()
        assert first.body == b"canary"
        assert cookie.startswith("tg_kept_shop=canary.0.")
        kept = f"Cookie: {cookie.partition(';')[0]}"
        proxy.edit(weigh(100, 0))
        assert {proxy.get("/", "shop.test", "X-User: ann", kept).body for _ in range(8)} == {b"canary"}
        assert proxy.get("/", "shop.test", "X-User: ann").body == b"stable"
        assert proxy.get("/", "shop.test", "X-User: bob", kept).body == b"stable"
        assert proxy.metrics().value("tidegate_decisions_total", route="shop", version="canary", reason="sticky") == 8
        proxy.end()
        proxy.start()
        assert proxy.get("/", "shop.test", "X-User: ann", kept).body == b"canary"
        proxy.edit(weigh(100, 0, kill=True))
        freed = proxy.get("/", "shop.test", "X-User: ann", kept)
        assert freed.body == b"stable"
        assert (freed.get(b"set-cookie") or b"").startswith(b"tg_kept_shop=stable.0.")


def test_member_chooses_the_canary_and_leaves_it(tmp_path: Path) -> None:
    with Origin(answer(b"stable"), record=False) as stable, Origin(answer(b"canary"), record=False) as canary:
        config = shop(stable, canary)
        versions = config["routes"][0]["versions"]
        versions["stable"]["weight"], versions["canary"]["weight"] = 100, 0
        config["routes"][0]["choice"] = {"versions": ["canary"], "segment": "beta"}
        config["segments"] = {"beta": {"header": "x-beta", "exists": True}}
        with Proxy(config, tmp_path) as proxy:
            who = ("X-User: ann", "X-Beta: 1")
            page = "/.tidegate/choice"
            assert proxy.get("/", "shop.test", *who).body == b"stable"
            assert b'"versions": ["canary"]' in proxy.get(page, "shop.test", *who).body
            cross = proxy.get(f"{page}?version=canary", "shop.test", *who, "Origin: http://evil.test", method="POST")
            assert cross.status == 403
            chosen = proxy.get(f"{page}?version=canary", "shop.test", *who, "Origin: http://shop.test", method="POST")
            assert (chosen.status, chosen.get(b"location")) == (303, page.encode())
            (cookie,) = [one.decode() for one in chosen.all(b"set-cookie") if one.startswith(b"tg_choice_shop=")]
            chose = f"Cookie: {cookie.partition(';')[0]}"
            assert {proxy.get("/", "shop.test", *who, chose).body for _ in range(8)} == {b"canary"}
            assert proxy.get("/", "shop.test", "X-User: bob", "X-Beta: 1", chose).body == b"stable"
            proxy.wait_metric(1, "tidegate_choices_total", route="shop", version="canary", outcome="chosen")
            proxy.wait_metric(1, "tidegate_choices_total", route="shop", version="stable", outcome="refused")
            proxy.edit(weigh(100, 0, kill=True))
            assert proxy.get("/", "shop.test", *who, chose).body == b"stable"
