"""docs/foresight.md and docs/rollout-hooks.md say what the code does. `python -m tests.unit.test_rollout_pages` writes it anew."""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from http.server import HTTPServer
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from proxy.rollout.hooks import WHEN, Hooks
from proxy.rollout.http_sending import HttpSender
from proxy.rollout.machine import advance
from proxy.rollout.plots import draw
from proxy.rollout.report import Incident, charts
from proxy.rollout.rollout import Cause
from proxy.rollout.sending import Sender, as_body
from proxy.rollout.simulation import Game
from proxy.rollout.states import CauseKind
from proxy.rollout.telling import EVENTS, facts_of
from proxy.rollout.track import Track
from proxy.rollout.world import Assumed
from proxy.settings.loader import load
from proxy.surfaces.cli.main import tidegate
from tests.unit.rollout.rollouts import a_rollout

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORESIGHT, HOOKS = DOCS / "foresight.md", DOCS / "rollout-hooks.md"
COMMANDS = {
    "plan": ("plan", "--rate", "200/s"),
    "never": ("plan", "--rate", "5/s"),
    "simulate": ("simulate", "--errors", "3", "--traffic", "200/s", "--runs", "20"),
}
SEED = 1


def between(page: Path, name: str) -> str:
    return page.read_text().partition(f"<!-- {name}:begin -->\n")[2].partition(f"<!-- {name}:end -->")[0]


def configuration(directory: Path) -> Path:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", FORESIGHT.read_text(), re.DOTALL | re.MULTILINE)
    file = directory / "tidegate.yaml"
    file.write_text(text)
    return file


def printed(name: str, file: Path) -> str:
    """What the command prints, without how long it took."""
    words = COMMANDS[name]
    result = CliRunner().invoke(tidegate, ["rollout", words[0], "-c", str(file), "--route", "shop", *words[1:]])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    text = re.sub(r" times in [\d.]+ s,", " times in 8 s,", result.stdout)
    return f"```text\n{''.join(f'{line.rstrip()}{chr(10)}' for line in text.splitlines())}```\n"


def pictures(directory: Path) -> dict[str, str]:
    """Of one run of the example."""
    route = load(configuration(directory), {}).spec["routes"][0]
    bound = {one["name"]: float(one["weight"]) for one in route["versions"]}
    track = Track()
    assumed = Assumed(200.0, 120_000, errors=3.0)
    game = Game(route["rollout"], bound, assumed, Random(f"{SEED}/3"), route="shop", track=track)
    game.play()
    drawn = charts(Incident(game.rollout, game.now, (), track))
    return {f"rollout-{name}.svg": draw(drawn[name]) for name in ("errors", "evidence")}


def body() -> dict[str, object]:
    """Of a before_step hook: what it is asked."""
    rollout = a_rollout(
        step=0, sequence=2, percent=1.0, weights={"stable": 99.0, "canary": 1.0}, reason="the first step"
    )
    following = advance(rollout, Cause(CauseKind.STEP_PASSED, "tidegate", "held for 10m", {}, 1_790_000_600.0))
    assert following is not None
    step = {"state": "progressing", "step": 2, "percent": following.percent, "ring": None, "shadow": 0.0}
    return {
        **facts_of(rollout, 1_790_000_600.0),
        "because": "held for 10m, and errors: at most 1.4 times the errors",
        "next": {**step, "weights": following.weights},
        "event": "before_step",
        "id": "shop/v2/2/before_step",
    }


def body_block() -> str:
    return f"```json\n{json.dumps(body(), indent=2)}\n```\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_what_the_commands_print_is_on_the_page(name: str, tmp_path: Path) -> None:
    assert between(FORESIGHT, name) == printed(name, configuration(tmp_path))


def test_pictures_are_those_of_the_example(tmp_path: Path) -> None:
    for name, drawn in pictures(tmp_path).items():
        assert (DOCS / name).read_text() == drawn


def test_body_of_a_hook_is_that_of_the_code() -> None:
    assert between(HOOKS, "body") == body_block()


def test_tables_of_moments_and_events_are_those_of_the_code() -> None:
    text = HOOKS.read_text()
    for name in (*WHEN, *EVENTS):
        assert f"| `{name}` |" in text


def test_the_receiver_on_the_page_knows_our_requests_from_others() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", between(HOOKS, "receiver"), re.DOTALL)
    names: dict[str, object] = {"__name__": "receiver"}
    exec(compile(code, "receiver.py", "exec"), names)
    gate: type = names["Gate"]  # type: ignore[assignment]
    gate.log_message = lambda *_: None  # type: ignore[attr-defined]
    server = HTTPServer(("127.0.0.1", 0), gate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/gate"
    hook = {
        "url": url,
        "when": "before_step",
        "veto": True,
        "secret": "a secret of 16 or more",
        "timeout": 5.0,
        "retries": 0,
    }

    async def ask(**given: object) -> list[bool]:
        http = HttpSender()
        answers = []
        for now, secret in (
            (time.time(), hook["secret"]),
            (time.time() - 1000, hook["secret"]),
            (time.time(), "x" * 22),
        ):
            hooks = Hooks(Sender(http, asyncio.sleep, lambda: 0.0), lambda at=now: at, Counter())  # type: ignore[misc]
            answer = await hooks.ask([{**hook, "secret": secret}], "before_step", body())
            answers.append(answer.allowed)
        await http.close()
        return answers

    try:
        assert asyncio.run(ask()) == [True, False, False]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    genuine = names["genuine"]
    assert not genuine("", b"", 0.0)  # type: ignore[operator]
    assert not genuine("t=x,v1=", as_body(body()), 0.0)  # type: ignore[operator]


def _write(page: Path, name: str, text: str) -> None:
    before, _, rest = page.read_text().partition(f"<!-- {name}:begin -->\n")
    page.write_text(
        f"{before}<!-- {name}:begin -->\n{text}<!-- {name}:end -->{rest.partition(f'<!-- {name}:end -->')[2]}"
    )


if __name__ == "__main__":
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as scratch:
        here = Path(scratch)
        for one in COMMANDS:
            _write(FORESIGHT, one, printed(one, configuration(here)))
        for file_name, svg in pictures(here).items():
            (DOCS / file_name).write_text(svg)
    _write(HOOKS, "body", body_block())
