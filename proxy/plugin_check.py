"""Tries the plugins of a configuration in a process of their own: `python -m proxy.plugin_check`, specs on standard input.

Code of a user's shall not run in the control process; whether it can be imported, and takes its configuration, should be
known before a plan with it is in force. So a child imports it, says what came of it, and ends.
"""

import json
import os
import subprocess
import sys
from typing import Any, Final

PATIENCE: Final = 20.0
"""Seconds for all plugins of a configuration to be imported."""
_SAID: Final = 2000
"""Characters of a complaint that are passed on."""

Spec = dict[str, Any]


def try_plugins(specs: list[Spec], environ: dict[str, str]) -> list[tuple[str, int]]:
    """For each spec what is wrong with it, "" for nothing, and the line of its file, 0 for none.

    Blocks for as long as the imports take, `PATIENCE` at most.
    """
    command = [sys.executable, "-P", "-m", "proxy.plugin_check"]
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            command, input=json.dumps(specs).encode(), capture_output=True, timeout=PATIENCE, env=environ, check=False
        )
    except subprocess.TimeoutExpired:
        return [(f"takes longer than {PATIENCE:g}s to be imported", 0) for _ in specs]
    except OSError as error:
        return [(f"cannot be tried: {error.strerror or error}", 0) for _ in specs]
    try:
        return [(str(problem), int(line)) for problem, line in json.loads(done.stdout)]
    except (ValueError, TypeError):
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = f"ended the process with code {done.returncode}" + (f": {words[-1]}" if words else "")
        return [(f"cannot be imported: it, or a plugin beside it, {why}"[:_SAID], 0) for _ in specs]


def main() -> int:
    """Say what is wrong with each of the specs, as a JSON list of pairs."""
    # What a plugin prints while it is imported must not get in between.
    out = os.dup(1)
    os.dup2(2, 1)
    from proxy.plugin_loading import PluginError, make_plugin  # noqa: PLC0415 - the parent does without

    said: list[tuple[str, int]] = []
    for spec in json.load(sys.stdin):
        try:
            make_plugin(spec)
        except PluginError as error:
            said.append((str(error)[:_SAID], error.line))
        else:
            said.append(("", 0))
    with os.fdopen(out, "w") as answer:
        json.dump(said, answer)
    os._exit(0)  # threads that a plugin has started have nothing more to say


if __name__ == "__main__":
    sys.exit(main())
