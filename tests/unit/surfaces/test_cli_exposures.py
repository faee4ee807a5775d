"""`tidegate exposures`: what is printed, for whom, and forgetting one."""

import json
import sqlite3

import pytest
from click.testing import CliRunner

from proxy.cap_files import CapFile, make_cap_file
from proxy.core.hashing import UnitHasher
from proxy.core.plan import OVERRIDE
from proxy.exposure.jsonl import Stream
from proxy.surfaces.cli.main import tidegate
from tests.unit.exposure.telling import Teller, store

KEY = "a key of some length"
CONFIG = """
listen: 127.0.0.1:80
state: sqlite:tidegate.db
secrets: {{cookie: [0123456789abcdef]{key}}}
exposure: {{jsonl: e.jsonl}}
upstreams: {{a: {{endpoints: [http://127.0.0.1:1]}}}}
routes:
  - name: shop
    unit: [{{header: u}}]
    versions: {{stable: {{upstream: a, weight: 95}}, canary: {{upstream: a, weight: 5}}}}
    exposure: true
"""


def hashed(unit):
    return int(UnitHasher(KEY.encode())(unit.encode()), 16)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.yaml").write_text(CONFIG.format(key=f', unit_hash: "{KEY}"'))
    return tmp_path


@pytest.fixture
def recorded(here):
    teller = Teller()
    messages = [
        teller.message((hashed("alice"), "stable"), (hashed("bob"), "stable")),
        teller.message((hashed("alice"), "canary", OVERRIDE, "rules[0]")),
    ]
    store(here / "tidegate-exposures.db", *messages).close()
    return here


def run(*words):
    return CliRunner().invoke(tidegate, ["exposures", "-c", "t.yaml", *words])


def test_without_a_question_versions_are_summed_up(recorded):
    result = run()
    assert result.exit_code == 0, result.output
    assert (
        "shop  stable  2 units, first 2023-11-14 22:13:20.000Z, last 2023-11-14 22:13:21.000Z  (split 2)"
        in result.output
    )
    assert "shop  canary  1 units" in result.output
    value = json.loads(run("--json").output)
    assert {one["version"]: one["units"] for one in value["versions"]} == {"stable": 2, "canary": 1}
    assert value["sample_ratios"][0]["counts"] == {"stable": 2, "canary": 0}


def test_a_units_way_is_told_newest_first(recorded):
    lines = run("--unit", "alice").output.splitlines()
    assert len(lines) == 2
    assert "canary (was stable)  override rules[0], bucket 17, from header, plan 3" in lines[0]
    assert "  stable  split, bucket 17" in lines[1]
    value = json.loads(run("--unit", "alice", "--route", "shop", "--json").output)
    assert [one["version"] for one in value["exposures"]] == ["canary", "stable"]
    assert run("--unit-hash", f"{hashed('alice'):016x}").output.splitlines() == lines


def test_lists_are_cut_and_say_so(recorded):
    result = run("--version", "stable", "--limit", "1")
    assert len(result.output.splitlines()) == 2
    assert "there are more" in result.output
    assert json.loads(run("--version", "stable", "--limit", "1", "--json").output)["more"] is True


def test_nothing_found_is_said(recorded):
    result = run("--unit", "nobody")
    assert (result.exit_code, result.output) == (0, "nothing was recorded of that\n")
    assert run("--since", "1h").output == "nothing was recorded of that\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--version", "canry"), "recorded of that; the file has no version canry: stable, canary"),
        (
            ("--route", "shop", "--version", "canry"),
            "recorded of that; the file has no version canry of route shop: stable, canary",
        ),
        (("--route", "shp", "--version", "canary"), "recorded of that; the file has no route shp: shop"),
        (("--route", "shp"), "recorded yet; the file has no route shp: shop"),
    ],
)
def test_what_the_file_does_not_know_is_named(recorded, words, why):
    result = run(*words)
    assert (result.exit_code, result.output) == (0, f"nothing was {why}\n")


def test_one_unit_is_erased_from_file_and_stream(recorded):
    Stream(recorded / "e.jsonl", 1 << 20, 1).write([{"unit": f"{hashed(one):016x}"} for one in ("alice", "bob")])
    assert run("--erase-unit", "alice").output == "2 records and 1 lines erased\n"
    assert run("--unit", "alice").output == "nothing was recorded of that\n"
    assert len(run("--unit", "bob").output.splitlines()) == 1
    assert json.loads(run("--erase-unit", "bob", "--json").output)["erased"] == 1


def test_erased_unit_leaves_the_files_of_caps_and_its_place_stays_taken(recorded):
    directory = recorded / "tidegate-caps"
    for name in ("shop~canary~0", "gone~canary~3"):
        make_cap_file(directory / name, 5).admit(hashed("alice"), 5)
    assert run("--erase-unit", "alice").exit_code == 0
    for path in directory.iterdir():
        file = CapFile(str(path))
        assert (file.table.count, file.table.has(hashed("alice"))) == (1, False)
    (directory / "other~canary~0").write_bytes(b"no such file")
    result = run("--erase-unit", "bob")
    assert result.exit_code == 1
    assert "other~canary~0: this is no record of a cap (the unit may still be in there)" in result.output


def test_the_key_that_was_made_is_found_in_the_state_store(recorded):
    (recorded / "t.yaml").write_text(CONFIG.format(key=""))
    result = run("--unit", "alice")
    assert result.exit_code == 1
    assert "the state store has no key" in result.output
    database = sqlite3.connect(recorded / "tidegate.db")
    database.execute("CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT)")
    database.execute("INSERT INTO state VALUES ('secrets', ?)", (json.dumps({"cookie": "c", "unit_hash": KEY}),))
    database.commit()
    database.close()
    assert len(run("--unit", "alice").output.splitlines()) == 2


@pytest.mark.parametrize("words", [(), ("--unit", "alice"), ("--erase-unit", "alice")])
def test_where_nothing_was_recorded_it_says_so(here, words):
    result = run(*words)
    assert result.exit_code == 1
    assert f"{here}/tidegate-exposures.db: there is no such file" in result.output
    where = f"`state: sqlite:tidegate.db` was looked for in {here}: ask in the directory in which the proxy was started"
    assert where in result.output
    (here / "t.yaml").write_text(CONFIG.format(key="").replace("sqlite:tidegate.db", f"sqlite:{here}/tidegate.db"))
    result = run("--unit", "alice")
    assert result.output == (
        f"{here}/tidegate.db: `secrets.unit_hash` is not configured, and the state store has no key: nothing was recorded yet\n"
    )


def test_without_a_state_it_says_what_is_missing(here):
    (here / "t.yaml").write_text(
        CONFIG.format(key="").replace("state: sqlite:tidegate.db\n", "").replace("    exposure: true\n", "")
    )
    result = run()
    assert result.exit_code == 1
    assert "there is no `state: sqlite:PATH`" in result.output


@pytest.mark.parametrize(
    "words",
    [
        ("--since", "yesterday"), ("--unit-hash", "xyz"), ("--unit", "a", "--unit-hash", "0" * 16), ("--limit", "0"),
        ("--erase-unit", "a", "--route", "shop"),
    ],
)  # fmt: skip
def test_wrong_usage_is_code_2(recorded, words):
    assert run(*words).exit_code == 2
