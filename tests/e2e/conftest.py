"""One proxy for all tests that only send requests; those that edit, signal or starve one start their own."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .harness.origin import Origin
from .harness.proxy import Proxy, configuration, upstream


@dataclass
class Edge:
    """The shared proxy. Its routes go by host: plain.test, raw.test and limited.test lead to `plain`, answers.test to `answers`."""

    proxy: Proxy
    plain: Origin
    answers: Origin


@pytest.fixture(scope="session")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    def route(name: str, **more: object) -> dict[str, object]:
        return {
            "name": name,
            "match": {"host": f"{name}.test"},
            "debug": {"from": ["127.0.0.0/8"]},
            "versions": {"only": {"upstream": "answers" if name == "answers" else "plain"}},
            **more,
        }

    with Origin() as plain, Origin() as answers:
        config = configuration(
            {"plain": upstream(plain), "answers": upstream(answers)},
            [route("plain"), route("raw", paths="raw"), route("limited", max_body="100B"), route("answers")],
            trusted_proxies=["127.0.0.9/32"],
        )
        with Proxy(config, tmp_path_factory.mktemp("edge")) as proxy:
            yield Edge(proxy, plain, answers)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """To start a proxy of its own takes a test longer than a quarter of a second."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "edge" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
