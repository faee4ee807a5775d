"""Surviving workers whose messages or counters are another version's: they serve until ours do, then are told to leave.

Nothing that they say means anything here, but DRAIN is the same in every version of the channel.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from typing import Final

from proxy.channel import messages
from proxy.channel.frames import encode_json
from proxy.control.takeover import Survivor

log = logging.getLogger("tidegate.control")


class Strangers:
    """All that are left of them."""

    def __init__(self, found: Iterable[Survivor]) -> None:
        self._serving: Final = list(found)
        self._leaving: Final[list[Survivor]] = []

    def __len__(self) -> int:
        return len(self._serving) + len(self._leaving)

    def send_away(self, limit: float) -> None:
        """Have those that serve drain; what is in flight in them has `limit` seconds."""
        for one in self._serving:
            log.info("worker %d of another version (process %d) is drained", one.index, one.pid)
            try:
                one.channel.send(encode_json(messages.DRAIN, {"limit": limit}), socket.MSG_NOSIGNAL)
            except OSError as error:
                log.warning("worker %d of another version cannot be told to leave: %s", one.index, error)
            os.close(one.counters)
            self._leaving.append(one)
            asyncio.get_running_loop().add_reader(one.channel, self._said, one)
        self._serving.clear()

    def _said(self, one: Survivor) -> None:
        """The end of what it says means that it is gone."""
        try:
            if one.channel.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:
            pass  # it is gone all the same
        asyncio.get_running_loop().remove_reader(one.channel)
        one.channel.close()
        self._leaving.remove(one)
