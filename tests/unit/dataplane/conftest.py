from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.unit.dataplane.certificates import Authority
from tests.unit.dataplane.stage import Stage


@pytest.fixture
def stage_of() -> Iterator[Callable[..., Stage]]:
    """Makes stages, and gives their memory back at the end."""
    made: list[Stage] = []

    def make(*arguments: Any, **options: Any) -> Stage:
        stage = Stage(*arguments, **options)
        made.append(stage)
        return stage

    yield make
    for stage in made:
        stage.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom the tests' certificates are from."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def tls(authority: Authority) -> dict[str, Any]:
    """What a listener with one certificate is told."""
    certificate, key = authority.certify("localhost", "shop.example.com")
    one = {"hosts": ["shop.example.com"], "certificate": certificate, "key": key, "stamp": "1"}
    return {"certificates": [one], "minimum": "1.2"}


@pytest.fixture
def stage(stage_of: Callable[..., Stage]) -> Stage:
    """One route, one version, one endpoint."""
    return stage_of()
