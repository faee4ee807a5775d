"""A guardian for tests, over a control process that does what the first argument says and tells what happens to it.

With `upgrade:MANNER[:LIMIT]` control asks on SIGHUP for a successor, and hands over on SIGUSR1; the successor is this file
again, with that manner.
"""

import os
import signal
import socket
import subprocess
import sys

from proxy.control.errand import Line
from proxy.control.guardian import HANDED_OVER, PASSED_ON, Guardian


def say(*words):
    """One line, in one piece: three processes say something on the same pipe."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def start(errand):
    manner, starts = sys.argv[1], errand.starts
    say("control", os.getpid(), starts, os.getsid(0) == os.getpid())
    if errand.failure:
        say("failure", errand.failure)
    if manner.startswith("exit"):
        return int(manner.removeprefix("exit"))
    if manner == "raise":
        raise RuntimeError("control is broken")
    if manner == "later1" and starts:
        return 1
    if manner in {"worker", "later1", "stubborn"} and not starts:
        heed = "signal.signal(15, signal.SIG_IGN)" if manner == "stubborn" else "signal.signal(15, signal.SIG_DFL)"
        unblock = "signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())"
        worker = subprocess.Popen(
            [sys.executable, "-c", f"import signal, time; {heed}; {unblock}; print('up', flush=True); time.sleep(60)"],
            stdout=subprocess.PIPE,
        )
        worker.stdout.readline()
        say("worker", worker.pid)
    wished = manner.split(":")[1] if ":" in manner else ""
    limit = manner.split(":")[2] if manner.count(":") > 1 else "20"
    while True:
        info = signal.sigtimedwait(PASSED_ON, 0.02)
        for message in errand.line.heard():
            say("heard", message)
        if info is None:
            continue
        number = info.si_signo
        say("signal", signal.Signals(number).name)
        if wished and number == signal.SIGHUP:
            command = [sys.executable, "-m", "tests.unit.control.guarded", wished]
            request = {"command": command, "first": ["first"], "environ": {"MARK": "new"}, "limit": limit}
            if limit != "odd":
                request["limit"] = float(limit)
            errand.line.say({"upgrade": request})
        if wished and number == signal.SIGUSR1:
            return HANDED_OVER
        if number in {signal.SIGTERM, signal.SIGINT}:
            return 0


def succeed(manner, line, first):
    """Be another program's control process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    line = Line(socket.socket(fileno=line), os.getppid())
    say("successor", os.getpid(), first, os.getsid(0) == os.getpid(), os.environ["MARK"])
    if manner == "fails":
        return 3
    if manner == "ready" or not first:
        line.say({"ready": True})
    while True:
        number = signal.sigwait(PASSED_ON)
        say("new", signal.Signals(number).name)
        if number in {signal.SIGTERM, signal.SIGINT}:
            return 0


if __name__ == "__main__":
    if "--line" in sys.argv:
        sys.exit(succeed(sys.argv[1], int(sys.argv[3]), sys.argv[4:] == ["first"]))
    sys.exit(Guardian(start, lambda level, text: say("log", level, text), float(sys.argv[2])).run())
