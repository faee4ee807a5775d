"""`rollout simulate` and `rollout plan`: what they print, and what they say of a mistake."""

import json
import re

import pytest
from click.testing import CliRunner

from proxy.surfaces.cli import rollout_plan
from proxy.surfaces.cli.main import tidegate
from proxy.surfaces.cli.rollout_described import Rate

FILE = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: [http://127.0.0.1:9001]}, b: {endpoints: [http://127.0.0.1:9002]}}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    versions: {stable: {upstream: a, weight: 100}, canary: {upstream: b, weight: 0}}
    rollout: {revision: v2, steps: [20, 100], hold: 1m, maximum: 20m}
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "tidegate.yaml"
    path.write_text(FILE)
    return str(path)


def run(*words):
    return CliRunner().invoke(tidegate, ["rollout", *words])


@pytest.mark.slow
def test_simulate_says_how_it_ends_and_who_is_hurt(file):
    result = run("simulate", "-c", file, "--errors", "8", "--traffic", "6000/m", "--error-percent", "1", "--runs", "3")
    assert result.exit_code == 0, result.output
    assert "shop v2: stable to canary in steps 20 %, 100 %" in result.stdout
    assert "100 requests/s of 60,000 users; 1 % errors at stable, 8 times as many at canary" in result.stdout
    assert "played    3 times" in result.stdout
    assert "stopped             100 %" in result.stdout
    assert "hurt by it" in result.stdout


@pytest.mark.slow
def test_simulate_is_the_same_with_the_same_seed_on_any_number_of_processors(file, monkeypatch):
    words = ("simulate", "-c", file, "--errors", "3", "--runs", "3", "--seed", "5", "--json")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    first = run(*words)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert json.loads(first.stdout) == json.loads(run(*words).stdout)
    value = json.loads(first.stdout)
    assert sum(end["share"] for end in value["ends"].values()) == pytest.approx(1.0)
    assert value["users"]["hurt"]["median"] <= value["users"]["erred"]["median"]


@pytest.mark.slow
def test_simulate_plays_what_was_recorded(file, tmp_path):
    points = [{"at": at, "counts": {"stable": [80 * at, at], "canary": [20 * at, 8 * at]}} for at in (0, 300, 600)]
    record = tmp_path / "report.json"
    record.write_text(json.dumps({"course": points}))
    result = run("simulate", "-c", file, "--recorded", str(record), "--runs", "2")
    assert result.exit_code == 0, result.output
    assert f"recorded  {record}" in result.stdout
    assert "stopped             100 %" in result.stdout
    record.write_text("[]")
    result = run("simulate", "-c", file, "--recorded", str(record))
    assert result.exit_code == 1
    assert "fewer than two points" in result.stderr


def test_plan_says_how_long_each_step_takes(file):
    result = run("plan", "-c", file, "--rate", "2000/s")
    assert result.exit_code == 0, result.output
    assert "2000 requests/s (given) of 1,200,000 users" in result.stdout
    assert "promoted after 1m, then watched for 1m" in result.stdout


def test_plan_says_which_gate_cannot_decide_in_time(file):
    result = run("plan", "-c", file, "--rate", "1/s")
    assert result.exit_code == 1
    assert "step 1 (20 %): errors " in result.stdout
    assert "`maximum` is 20m: `on_no_data` (pause)" in result.stdout
    result = run("plan", "-c", file, "--rate", "1/s", "--json")
    value = json.loads(result.stdout)
    assert value["seconds"] is None
    assert [one["decided"] for one in value["steps"]] == [False, True]


def test_plan_says_what_would_decide_it(tmp_path):
    path = tmp_path / "tidegate.yaml"
    path.write_text(FILE.replace("[20, 100]", "[1, 100]").replace("20m", "2h"))
    result = run("plan", "-c", str(path), "--rate", "50/s")
    assert result.exit_code == 1
    remedy = next(line for line in result.stdout.splitlines() if "what would decide it" in line)
    found = re.fullmatch(
        r" +what would decide it: a weight of (\d+) % \(in .*\) or `maximum: (\d+h)` or `weight: watch` .*", remedy
    )
    assert found, remedy
    for old, new in (("[1, 100]", f"[{found[1]}, 100]"), ("2h", found[2])):
        path.write_text(FILE.replace("[20, 100]", "[1, 100]").replace("20m", "2h").replace(old, new))
        assert run("plan", "-c", str(path), "--rate", "50/s").exit_code == 0, new
    path.write_text(FILE.replace("[20, 100]", "[1, 100]").replace("20m", "2h"))
    value = json.loads(run("plan", "-c", str(path), "--rate", "50/s", "--json").stdout)
    assert value["steps"][0]["would_be_decided"]["weight"] == float(found[1])
    assert value["steps"][1]["would_be_decided"] is None


def test_the_default_plan_walks_through_with_fifty_requests_a_second(tmp_path):
    """The first step wants three hours: that is within the `maximum` that nobody wrote."""
    path = tmp_path / "tidegate.yaml"
    path.write_text(FILE.replace(", steps: [20, 100], hold: 1m, maximum: 20m", ""))
    result = run("plan", "-c", str(path), "--rate", "50/s")
    assert result.exit_code == 0, result.output
    assert "promoted after" in result.stdout


class Client:
    """The admin port of a proxy with so many requests at each look."""

    def __init__(self, *counts):
        self.counts = list(counts)

    def ask(self, method, path, body=None):
        assert (method, path) == ("GET", "/api/v1/routes")
        count = self.counts.pop(0)
        stable = {"name": "stable", "requests": count, "errors": count // 50}
        return {"routes": [{"name": "shop", "versions": [stable, {"name": "canary", "requests": 0, "errors": 0}]}]}


def test_plan_asks_the_running_proxy_for_its_rate(file, monkeypatch):
    monkeypatch.setattr("proxy.surfaces.cli.rollout_plan.open_client", lambda *_: Client(0, 10_000))
    monkeypatch.setattr(rollout_plan.time, "sleep", lambda _: None)
    ticks = iter([10.0, 15.0])
    monkeypatch.setattr(rollout_plan.time, "monotonic", lambda: next(ticks))
    result = run("plan", "-c", file)
    assert result.exit_code == 0, result.output
    assert "2000 requests/s (the running proxy, now) of 1,200,000 users, 2 % errors" in result.stdout


def test_plan_wants_requests_or_a_rate(file, monkeypatch):
    monkeypatch.setattr("proxy.surfaces.cli.rollout_plan.open_client", lambda *_: Client(5, 5))
    monkeypatch.setattr(rollout_plan.time, "sleep", lambda _: None)
    result = run("plan", "-c", file)
    assert result.exit_code == 1
    assert "route shop has no requests now; --rate says how many to count with" in result.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", "--rate", "fast"), 2, "'fast' is no rate such as 50/s"),
        (("plan", "--rate", "1/s", "--route", "cart"), 1, "there is no route cart with a rollout"),
        (("plan", "--rate", "1/s", "--event", "buys=5"), 2, "--event buys: no metric asks for it; they ask for: none"),
        (("plan", "--rate", "1/s", "--event", "buys"), 2, "is no NAME=PERCENT"),
        (("simulate", "--median", "fast"), 2, "--median"),
        (("simulate", "--runs", "0"), 2, "--runs"),
        (("simulate", "--recorded", "/nowhere"), 2, "does not exist"),
    ],
)
def test_a_mistake_is_named(file, words, code, said):
    result = run(words[0], "-c", file, *words[1:])
    assert result.exit_code == code
    assert said in result.output


def test_a_file_without_rollouts_and_one_with_several(tmp_path):
    path = tmp_path / "tidegate.yaml"
    path.write_text(FILE.replace("    rollout: {revision: v2, steps: [20, 100], hold: 1m, maximum: 20m}\n", ""))
    assert "has a rollout" in run("plan", "-c", str(path), "--rate", "1/s").stderr
    both = FILE + FILE.partition("routes:\n")[2].replace("name: shop", "name: cart\n    match: {path_prefix: /cart}")
    path.write_text(both.replace("  - name: shop", "  - name: shop\n    match: {path_prefix: /shop}"))
    assert "say which with --route: shop, cart" in run("plan", "-c", str(path), "--rate", "1/s").stderr


@pytest.mark.parametrize(
    ("text", "rate"), [("50/s", 50.0), ("50", 50.0), ("3000/m", 50.0), ("180000/h", 50.0), ("0.5/s", 0.5)]
)
def test_rates(text, rate):
    assert Rate().convert(text, None, None) == pytest.approx(rate)
