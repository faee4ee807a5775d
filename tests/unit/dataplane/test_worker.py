"""What a worker's process does beside serving."""

import logging

import pytest

from proxy.dataplane.worker import ChannelHandler
from tests.unit.dataplane.stage import Stage


class Gone:
    """A standard error whose reader has left."""

    def write(self, _: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_log_line_that_nobody_takes_hurts_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    handler = ChannelHandler(stage.runtime)
    handler.handle(logging.LogRecord("tidegate.worker", logging.WARNING, "", 0, "could not connect", (), None))
