"""What the guardian gives a control process on its way, and the line between the two.

The line is a pair of sockets on which each message is one JSON object. The guardian sleeps in sigwaitinfo() and hears of a
message through SIGUSR2; control reads on its event loop. Imported by the guardian, so it imports next to nothing.
"""

import contextlib
import json
import os
import signal
import socket
from dataclasses import dataclass
from typing import Any, Final

_LONGEST: Final = 1 << 16  # bytes of a message


class Line:
    """One end of the line. Saying never blocks; who does not listen any more is not told."""

    def __init__(self, end: socket.socket, guardian: int = 0) -> None:
        """`guardian`: pid to wake after each message; 0 at the guardian's own end."""
        end.setblocking(False)
        self._end: Final = end
        self._guardian: Final = guardian

    def fileno(self) -> int:
        """For an event loop."""
        return self._end.fileno()

    def say(self, message: dict[str, Any]) -> bool:
        """Send `message`; whether it was taken."""
        data = json.dumps(message).encode()
        if len(data) > _LONGEST:  # half of it is all that would be heard
            return False
        try:
            self._end.send(data, socket.MSG_NOSIGNAL)
            if self._guardian:
                os.kill(self._guardian, signal.SIGUSR2)
        except OSError:
            return False
        return True

    def heard(self) -> list[dict[str, Any]]:
        """What came since the last time."""
        messages: list[dict[str, Any]] = []
        while True:
            try:
                data = self._end.recv(_LONGEST)
            except OSError:
                return messages
            if not data:
                return messages
            with contextlib.suppress(ValueError):  # cut off, as one that is too long is
                messages.append(json.loads(data))

    def close(self) -> None:
        """Hang up."""
        self._end.close()


def line_pair() -> tuple[socket.socket, socket.socket]:
    """The two ends of a new line. A descriptor that shall survive exec is made inheritable by who passes it on."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@dataclass(frozen=True, slots=True)
class Errand:
    """`starts` counts the starts before this one, `line` leads to the guardian (None: there is none), `failure` is why an
    upgrade was given up, where this control process starts because of that."""

    starts: int = 0
    line: Line | None = None
    failure: str = ""


ALONE: Final = Errand()
"""Of a control process without a guardian."""
