"""Services for a test; the process they live in serves all tests of a test process."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.harness.services import Fleet, Service

Open = Callable[..., list[Service]]


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    with Fleet() as fleet:
        yield fleet


@pytest.fixture
def services(fleet: Fleet) -> Iterator[Open]:
    """Opens services by their names; they end with the test."""
    yield fleet.open
    fleet.close()
