"""The desk: a socket in the run directory at which a running control process is asked about itself, for an upgrade, and for
its place.

One JSON object a line, both ways. Who asks must be the same user, or root.

- `{"ask": "status"}`: what `Control.status` says.
- `{"ask": "upgrade", "request": {...}}` (control/guardian.py: Program): `{"accepted": true}`, then `{"failed": why}`, or the
  end of the connection when the place is handed over.
- `{"ask": "handover"}`: `{"yours": true}`, then the end of the connection when workers, ports and stores are free.
- `{"ask": "failed", "why": why}`: `{}`. A successor tells why it cannot start.

Whatever cannot be done now is answered with `{"refused": why}`.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
import struct
import time
from pathlib import Path
from typing import Any, Final, Protocol

from proxy.control.errand import Errand
from proxy.control.run_dir import RunDir
from proxy.control.tasks import Tasks
from proxy.errors import TidegateError

log = logging.getLogger("tidegate.control")

DESK: Final = "control.sock"
HANDOVER_LIMIT: Final = 15.0
"""Seconds in which a control process that has agreed to hand over has let go of everything."""
_LONGEST: Final = 1 << 16
_PATIENCE: Final = 5.0  # seconds for an answer


class UpgradeError(TidegateError):
    """A control process could not be asked, or said no."""


class DeskOwner(Protocol):
    """The control process, as the desk needs it."""

    def status(self) -> dict[str, Any]:
        """What `status` is answered with."""

    def not_to_hand_over(self) -> str:
        """Why the place cannot be handed over now; empty when it can."""

    def hand_over(self) -> None:
        """Leave, without the workers."""


class Desk:
    """Answers while its control process lives."""

    def __init__(self, run_dir: RunDir, errand: Errand, owner: DeskOwner, tasks: Tasks) -> None:
        """Raises OSError when the socket cannot be made."""
        self._path: Final = run_dir.path / DESK
        self._errand: Final = errand
        self._owner: Final = owner
        self._tasks: Final = tasks
        self._waiting: Final[list[socket.socket]] = []  # who asked for an upgrade and wants to hear how it goes
        self._heirs: Final[list[socket.socket]] = []  # open until this process ends: that tells them that it has
        self._door: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._path.unlink(missing_ok=True)
        self._door.bind(str(self._path))
        self._door.listen(8)
        loop = asyncio.get_running_loop()
        loop.add_reader(self._door.fileno(), self._knocked)
        if errand.line is not None:
            loop.add_reader(errand.line.fileno(), self._guardian_said)

    def close(self) -> None:
        """Answer nobody any more. Heirs learn of the end of the process only."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._door.fileno())
        if self._errand.line is not None:
            loop.remove_reader(self._errand.line.fileno())
        self._door.close()
        self._path.unlink(missing_ok=True)
        for one in self._waiting:
            one.close()
        self._waiting.clear()

    def _knocked(self) -> None:
        try:
            caller, _ = self._door.accept()
        except OSError:
            return
        caller.setblocking(False)
        credentials = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in {os.geteuid(), 0}:
            caller.close()
            return
        self._tasks.spawn("desk", self._serve(caller))

    async def _serve(self, caller: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        kept = False
        try:
            async with asyncio.timeout(_PATIENCE):
                data = b""
                while not data.endswith(b"\n") and len(data) < _LONGEST:
                    more = await loop.sock_recv(caller, _LONGEST)
                    if not more:
                        return
                    data += more
                answer, keep = self._answer(json.loads(data))
                await loop.sock_sendall(caller, json.dumps(answer).encode() + b"\n")
            if keep is not None:
                keep.append(caller)
                kept = True
                if keep is self._heirs:
                    self._owner.hand_over()
        except (OSError, ValueError, KeyError, TypeError, TimeoutError) as error:
            log.warning("somebody at %s was not understood: %r", self._path, error)
        finally:
            if not kept:
                caller.close()

    def _answer(self, asked: dict[str, Any]) -> tuple[dict[str, Any], list[socket.socket] | None]:
        """The answer, and where the caller is kept afterwards."""
        kind = asked["ask"]
        if kind == "status":
            return self._owner.status(), None
        if kind == "failed":
            self._fail(str(asked["why"]))
            return {}, None
        why = self._owner.not_to_hand_over()
        if kind == "handover":
            return ({"refused": why}, None) if why else ({"yours": True}, self._heirs)
        if kind != "upgrade":
            return {"refused": f"nobody here knows what {kind!r} means"}, None
        line = self._errand.line
        if self._waiting:
            why = "another upgrade is under way"
        if line is None:
            why = "it runs without a guardian, and its own supervisor has to start the new program"
        if why or line is None or not line.say({"upgrade": asked["request"]}):
            return {"refused": why or "its guardian does not answer"}, None
        return {"accepted": True}, self._waiting

    def _guardian_said(self) -> None:
        for message in [] if self._errand.line is None else self._errand.line.heard():
            if "failed" in message:
                self._fail(str(message["failed"]))

    def _fail(self, why: str) -> None:
        log.error("an upgrade failed: %s", why)
        for one in self._waiting:
            with contextlib.suppress(OSError):
                one.send(json.dumps({"failed": why}).encode() + b"\n", socket.MSG_NOSIGNAL)
            one.close()
        self._waiting.clear()


# The other side of the desk; these block.


class Conversation:
    """One connection to the desk in `run_dir`. Raises OSError when nobody is there."""

    def __init__(self, run_dir: Path) -> None:
        self._socket: Final = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._rest = b""
        try:
            self._socket.settimeout(_PATIENCE)
            self._socket.connect(str(run_dir / DESK))
        except OSError:
            self._socket.close()
            raise

    def ask(self, kind: str, **more: Any) -> dict[str, Any]:
        """Ask, and wait for the answer. Raises OSError or UpgradeError."""
        self._socket.sendall(json.dumps({"ask": kind, **more}).encode() + b"\n")
        answer = self.hear(_PATIENCE)
        if answer is None:
            raise UpgradeError("the control process did not answer")
        if "refused" in answer:
            raise UpgradeError(f"the running control process refuses: {answer['refused']}")
        return answer

    def hear(self, limit: float) -> dict[str, Any] | None:
        """The next message; None when the other side has hung up. Raises TimeoutError after `limit` seconds."""
        end = time.monotonic() + limit
        while b"\n" not in self._rest:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            try:
                data = self._socket.recv(_LONGEST)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def ask_for_place(run_dir: Path) -> None:
    """Have the control process that serves `run_dir` hand over; returns when it has, or when there is none.

    Raises UpgradeError when it will not, or takes too long.
    """
    try:
        conversation = Conversation(run_dir)
    except OSError:
        return  # it has died: what it left is taken over all the same
    with contextlib.closing(conversation):
        try:
            conversation.ask("handover")
            conversation.hear(HANDOVER_LIMIT)
        except TimeoutError as error:
            raise UpgradeError(f"the control process did not let go within {HANDOVER_LIMIT:g} s") from error
        except OSError:
            return


def tell_failure(run_dir: Path, why: str) -> None:
    """Tell the control process that serves `run_dir` why its successor cannot start."""
    with contextlib.suppress(OSError, UpgradeError):
        conversation = Conversation(run_dir)
        with contextlib.closing(conversation):
            conversation.ask("failed", why=why)
