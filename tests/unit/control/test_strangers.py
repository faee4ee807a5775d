"""Workers of another version are told to leave once, and count until they have gone."""

import asyncio
import json
import os
import socket

import pytest

from proxy.channel import messages
from proxy.channel.frames import FrameReader
from proxy.control.strangers import Strangers
from proxy.control.takeover import Survivor


@pytest.fixture
def stranger():
    """One of them, and its own end of the channel."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    counters = os.open("/dev/null", os.O_RDONLY)
    yield Survivor(0, 100, {"version": 999}, ours, b"", counters, []), theirs
    ours.close()
    theirs.close()


async def turn():
    for _ in range(3):
        await asyncio.sleep(0)


def test_one_is_told_to_drain_once_and_counts_until_its_channel_ends(stranger):
    found, theirs = stranger

    async def play():
        strangers = Strangers([found])
        assert len(strangers) == 1
        strangers.send_away(3.0)
        strangers.send_away(3.0)
        (said,) = FrameReader().feed(theirs.recv(1 << 16))
        assert (said[0], json.loads(said[1])) == (messages.DRAIN, {"limit": 3.0})
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(found.counters)
        theirs.sendall(b"words that mean nothing")
        await turn()
        assert len(strangers) == 1
        theirs.close()
        await turn()
        assert len(strangers) == 0
        assert found.channel.fileno() == -1

    asyncio.run(play())


def test_one_that_is_gone_already_is_told_of_and_forgotten(stranger, caplog):
    found, theirs = stranger
    theirs.close()

    async def play():
        strangers = Strangers([found])
        strangers.send_away(3.0)
        await turn()
        assert len(strangers) == 0

    asyncio.run(play())
    assert "worker 0 of another version cannot be told to leave" in caplog.text
