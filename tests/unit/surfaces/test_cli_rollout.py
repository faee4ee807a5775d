"""`tidegate rollout` and `tidegate weights` against an admin port that is really there: what they print, and how they end."""

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest
from click.testing import CliRunner

from proxy.rollout.states import State
from proxy.surfaces.admin.guard import Token
from proxy.surfaces.admin.serve import AdminSettings, start_admin
from proxy.surfaces.cli import rollout as module
from proxy.surfaces.cli.admin_client import AdminClient, Place, RefusedError, UnreachableError, place_of
from proxy.surfaces.cli.main import tidegate
from proxy.surfaces.cli.rollout import ACTIONS, _code, _line
from tests.e2e.harness.certificates import Authority
from tests.unit.surfaces.test_admin_rollouts import proxy

TOKEN = "a token that is long enough"


@contextmanager
def serving(settings):
    """The admin port over a rollout, on a loop of its own thread; gives (state, address)."""
    with proxy() as state:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        servers = asyncio.run_coroutine_threadsafe(start_admin(state, settings), loop).result(10)
        try:
            yield state, servers.addresses["admin"]
        finally:
            asyncio.run_coroutine_threadsafe(servers.close(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


@pytest.fixture
def admin():
    with serving(AdminSettings("127.0.0.1:0")) as (state, address):
        yield state, address


def run(address, *words, token=None):
    more = [] if token is None else ["--token", token]
    return CliRunner().invoke(tidegate, [*words, "--admin", address, *more])


def put(proxy_state, **changes):
    """Have the rollout be so, as if it had come there by itself."""
    book = proxy_state.running.book
    book.rollouts["shop"] = replace(book.rollouts["shop"], **changes)


@pytest.mark.parametrize(("state", "at_once", "waited"), [
    ("pending", 0, 3), ("progressing", 0, 3), ("watching", 0, 3), ("reverting", 0, 3),
    ("approval", 4, 4), ("paused", 4, 4), ("frozen", 4, 4),
    ("completed", 0, 0), ("aborted", 1, 1), ("superseded", 1, 1),
])  # fmt: skip
def test_status_ends_with_a_code_that_a_pipeline_can_use(admin, state, at_once, waited):
    put(admin[0], state=State(state), step=0)
    assert run(admin[1], "rollout", "status", "shop").exit_code == at_once
    assert run(admin[1], "rollout", "status").exit_code == at_once
    assert run(admin[1], "rollout", "status", "shop", "--wait", "--timeout", "0").exit_code == waited
    assert run(admin[1], "rollout", "status", "--watch", "--timeout", "0").exit_code == waited


def test_every_state_has_a_code():
    assert {str(state) for state in State} >= set(module._CODES)
    assert {_code([{"state": str(one), "revision": "v"}], None, met=True) for one in State} == {0, 1, 3, 4}


def test_of_several_rollouts_the_worst_counts():
    def code(*states):
        return _code([{"state": one, "revision": "v"} for one in states], None, met=True)

    assert code("completed", "progressing") == 3
    assert code("completed", "progressing", "paused") == 4
    assert code("completed", "progressing", "paused", "aborted") == 1
    assert code("completed", "completed") == 0
    assert code() == 0


def test_a_revision_that_is_not_there_yet_is_under_way_and_one_that_was_replaced_has_failed(admin):
    def code(*more):
        return run(admin[1], "rollout", "status", *more, "--wait", "--timeout", "0").exit_code

    put(admin[0], state=State.COMPLETED)
    assert code("shop", "--revision", "v2") == 0
    assert code("shop", "--revision", "v3") == 3
    assert code("plain", "--revision", "v3") == 3  # its route has no rollout yet
    assert _code([{"state": "progressing", "revision": "v4"}], "v3", met=True) == 1
    assert run(admin[1], "rollout", "status", "plain").exit_code == 1


@pytest.mark.parametrize("words", [
    ["status", "--timeout", "3"], ["status", "--revision", "v2"], ["status", "shop", "--wait", "--timeout", "-1"],
    ["pause", "shop"], ["explode", "shop"], ["history", "shop", "--limit", "0"],
])  # fmt: skip
def test_wrong_usage_is_2(words):
    assert CliRunner().invoke(tidegate, ["rollout", *words]).exit_code == 2


def test_status_says_where_it_is_and_what_it_waits_for(admin):
    done = run(admin[1], "rollout", "status")
    assert done.output == "shop  v2  progressing, step 1 of 5, canary 1 %; waits for the end of the hold, in 1m\n"
    put(admin[0], state=State.PAUSED, ring="beta", shadow=10.0, reason="lunch", actor="anna")
    line = run(admin[1], "rollout", "status", "shop").output
    assert line == "shop  v2  paused, step 1 of 5, canary 1 %, ring beta, 10 % copied; lunch (anna)\n"
    value = json.loads(run(admin[1], "rollout", "status", "--json").output)
    assert [one["state"] for one in value["rollouts"]] == ["paused"]


def test_people_s_words_go_where_they_should(admin, monkeypatch):
    monkeypatch.setenv("LOGNAME", "bert")
    done = run(admin[1], "rollout", "pause", "shop", "--reason", "lunch")
    assert (done.exit_code, "paused, step 1 of 5" in done.output, "lunch (bert)" in done.output) == (0, True, True)
    done = run(admin[1], "rollout", "pause", "shop", "--reason", "again", "--by", "anna")
    assert done.exit_code == 1
    assert "is paused, and pause is nothing then; possible: resume" in done.output
    history = run(admin[1], "rollout", "history", "shop", "--limit", "1").output
    assert history.endswith("  v2  progressing -> paused, step 1, 1 %  pause by bert: lunch\n")
    assert len(json.loads(run(admin[1], "rollout", "history", "shop", "--json").output)["transitions"]) == 3


def test_every_action_is_a_command(admin):
    for action in ACTIONS:
        assert run(admin[1], "rollout", action, "shop", "--reason", "x").exit_code in {0, 1}
        assert action in CliRunner().invoke(tidegate, ["rollout", "--help"]).output


def test_explain_has_the_numbers(admin):
    put(admin[0], numbers={"errors": {"effect": 2.5}})
    text = run(admin[1], "rollout", "explain", "shop").output
    assert "It waits for the end of the hold, in 1m." in text
    assert "  canary: 0 in the file, 1 in force" in text
    assert "  errors.effect: 2.5" in text


def test_weights_are_set_shown_and_taken_back(admin):
    done = run(admin[1], "weights", "set", "plain", "canary=20", "--reason", "a look", "--by", "anna", "--until", "2h")
    assert done.exit_code == 0, done.output
    assert "stable  95 in the file, 80 in force\ncanary  5 in the file, 20 in force\n" in done.output
    assert "a look\n" in done.output
    assert "a restart of the proxy forgets them" in done.output
    value = json.loads(run(admin[1], "weights", "show", "plain", "--json").output)
    assert value["by_hand"]["until"] is not None
    done = run(admin[1], "weights", "unset", "plain")
    assert "canary  5 in the file, 5 in force" in done.output
    done = run(admin[1], "weights", "set", "shop", "canary=20", "--reason", "x", "--until", "2099-01-01T00:00:00Z")
    assert "its rollout is paused" in done.output
    assert "weights by hand" in run(admin[1], "rollout", "status").output


@pytest.mark.parametrize(("words", "code", "why"), [
    (["canary"], 2, "'canary' is not VERSION=WEIGHT"),
    (["canary=much"], 2, "is not VERSION=WEIGHT"),
    (["canary=1", "canary=2"], 2, "canary is given twice"),
    (["canary=120"], 1, "add up to 100, and these to 120"),
    (["canary=20", "--until", "soon"], 1, "until must be a time with its zone"),
])  # fmt: skip
def test_weights_that_cannot_be_set_say_why(admin, words, code, why):
    done = run(admin[1], "weights", "set", "plain", *words, "--reason", "x")
    assert (done.exit_code, why in done.output) == (code, True), done.output


def test_tokens_are_shown_and_asked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("TIDEGATE_TOKEN", raising=False)
    with serving(AdminSettings("127.0.0.1:0", tokens=(Token(TOKEN),))) as (_, address):
        assert run(address, "rollout", "status", token=TOKEN).exit_code == 0
        done = run(address, "rollout", "status")
        assert (done.exit_code, "TIDEGATE_TOKEN" in done.output) == (1, True)
        monkeypatch.setenv("TIDEGATE_TOKEN", TOKEN)
        assert run(address, "rollout", "status").exit_code == 0
        with pytest.raises(RefusedError) as refused:
            AdminClient(Place(f"http://{address}", "wrong")).ask("GET", "/api/v1/rollouts")
    assert refused.value.status == 401


def test_a_socket_in_the_file_system_and_tls_by_the_file_s_certificate_are_found_by_the_configuration(tmp_path):
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "somewhere.test")
    for address, tls in ((f"unix:{tmp_path}/admin.sock", None), ("127.0.0.1:0", (str(certificate), str(key)))):
        with serving(AdminSettings(address, tls=tls)) as (_, bound):
            file = tmp_path / "tidegate.yaml"
            more = f", tls: {{certificate: {certificate}, key: {key}}}" if tls else ""
            file.write_text(
                f"admin: {{address: '{bound}'{more}}}\nupstreams: {{u: {{endpoints: ['http://127.0.0.1:1']}}}}\n"
                "routes: [{name: a, versions: {v: {upstream: u}}}]\nlisten: 127.0.0.1:1\n"
            )
            done = CliRunner().invoke(tidegate, ["rollout", "status", "-c", str(file)])
            assert done.exit_code == 0, done.output


def test_the_configuration_says_where_and_a_wrong_one_what_to_do(tmp_path):
    file = tmp_path / "tidegate.yaml"
    rest = "upstreams: {u: {endpoints: ['http://127.0.0.1:1']}}\nroutes: [{name: a, versions: {v: {upstream: u}}}]\n"
    file.write_text(f"admin: {{address: '0.0.0.0:9901', tokens: [{TOKEN}]}}\n{rest}listen: 127.0.0.1:1\n")
    assert place_of(str(file), None, None) == Place("http://127.0.0.1:9901", TOKEN)
    assert place_of(str(file), None, "mine").token == "mine"
    assert place_of(str(file), "h:1", None) == Place("http://h:1", "")  # the file's token is for the file's port
    assert place_of(str(file), "https://h:1/", "t") == Place("https://h:1", "t", secure=True)
    file.write_text("admin: 7\n")
    with pytest.raises(UnreachableError, match=r"give --admin HOST:PORT"):
        place_of(str(file), None, None)


def test_nobody_there_is_said_with_where(tmp_path):
    done = run("127.0.0.1:1", "rollout", "status")
    assert (done.exit_code, "no answer from the admin port at http://127.0.0.1:1" in done.output) == (1, True)
    with pytest.raises(UnreachableError, match="is no address"):
        AdminClient(Place("http://h:port")).ask("GET", "/")
    with pytest.raises(UnreachableError, match=r"admin\.sock"):
        AdminClient(Place(f"unix:{tmp_path}/admin.sock")).ask("GET", "/")


def test_what_is_no_admin_port_is_said_to_be_none():
    with serving(AdminSettings("127.0.0.1:0")) as (_, address):
        with pytest.raises(UnreachableError, match="is no admin port of Tidegate"):
            AdminClient(Place(f"http://{address}")).ask("GET", "/")


def test_who_waits_goes_on_over_a_restart_and_gives_up_when_nobody_comes_back(monkeypatch):
    answers = [[{"revision": "v2"}], UnreachableError("gone"), UnreachableError("gone"), [{"revision": "v2"}]]
    now = [0.0]
    monkeypatch.setattr(module.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    class Client:
        def ask(self, method, path):
            answer = answers.pop(0) if answers else UnreachableError("gone for good")
            if isinstance(answer, Exception):
                raise answer
            return {"rollouts": answer}

    follow = module._Follow(Client(), None, None, lambda: now[0])
    assert follow.look() == follow.look() == [{"revision": "v2"}]
    with pytest.raises(SystemExit) as ended:
        follow.look()
    assert ended.value.code == 1
    assert now[0] > 30


def test_weights_of_nothing_are_no_percentage():
    one = {
        "route": "r", "revision": "v", "state": "completed", "step": 0, "steps": [], "to": "new", "ring": None, "shadow": 0,
        "weights": {"effective": {"new": 0}}, "by_hand": None, "waits_for": "", "reason": "done", "actor": "tidegate",
    }  # fmt: skip
    assert _line(one) == "r  v  completed, new 0 %; done (tidegate)"


def test_a_line_says_which_try_it_is_and_what_the_file_does_not_have_yet():
    one = {
        "route": "r", "revision": "v", "state": "completed", "step": 0, "steps": [], "to": "new", "ring": None, "shadow": 0,
        "weights": {"effective": {"old": 0, "new": 9}, "rollout": {"old": 0, "new": 9}, "file": {"old": 9, "new": 0}},
        "by_hand": None, "waits_for": "", "reason": "done", "actor": "tidegate", "tries": 2,
    }  # fmt: skip
    assert _line(one) == "r  v  completed, new 100 %, try 2, not in the file yet; done (tidegate)"
    written = {**one["weights"], "file": one["weights"]["rollout"]}
    assert "not in the file" not in _line({**one, "weights": written})
    assert "not in the file" not in _line({**one, "state": "watching"})
