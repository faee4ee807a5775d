from collections.abc import Callable, Iterator
from typing import Any

import pytest

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


@pytest.fixture
def stage(stage_of: Callable[..., Stage]) -> Stage:
    """One route, one version, one endpoint."""
    return stage_of()
