"""A guardian for tests, over a control process that does what the first argument says and tells what happens to it."""

import os
import signal
import subprocess
import sys

from proxy.control.guardian import PASSED_ON, Guardian


def say(*words):
    print(*words, flush=True)


def start(errand):
    manner, starts = sys.argv[1], errand.starts
    say("control", os.getpid(), starts, os.getsid(0) == os.getpid())
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
    while True:
        number = signal.sigwait(PASSED_ON)
        say("signal", signal.Signals(number).name)
        if number in {signal.SIGTERM, signal.SIGINT}:
            return 0


if __name__ == "__main__":
    sys.exit(Guardian(start, lambda level, text: say("log", level, text), float(sys.argv[2])).run())
