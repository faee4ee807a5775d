"""How the control process begins: with as many descriptors as it may have, and a word where they are few."""

import logging
import resource
from pathlib import Path

import pytest

from proxy.control import start
from proxy.control.process import descriptor_limit, raise_descriptor_limit
from proxy.settings.loader import Loader

CONFIG = """
upstreams: {u: {endpoints: [http://127.0.0.1:9001]}}
listen: 127.0.0.1:8080
client: {limits: {connections: 1000}}
routes: [{name: shop, versions: {stable: {upstream: u, weight: 100}}}]
"""


def test_the_limit_of_descriptors_is_raised_as_far_as_it_goes() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
    try:
        raise_descriptor_limit()
        assert descriptor_limit() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(("there", "said"), [(1024, True), (1256, False)])
def test_too_few_descriptors_for_all_clients_are_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, there: int, said: bool
) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(CONFIG)
    monkeypatch.setattr(start, "descriptor_limit", lambda: there)
    with caplog.at_level(logging.WARNING):
        start._warn_of_few_descriptors(Loader(file, {}).load().settings)
    assert ("a process may open 1024 files" in caplog.text) is said
