"""The command line: what is printed where, exit codes, and no stack trace for a user's mistake."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from proxy.settings.schema import schema_text
from proxy.surfaces.cli.main import COMMANDS, tidegate

CONFIG = """\
listen: 0.0.0.0:80
state: sqlite:x.db
trusted_proxies: [10.0.0.0/8]
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
segments: {oslo: {header: x-geo-city, in: [Oslo]}, nobody: {all: [{not: {path: {prefix: /}}}, {segment: oslo}]}}
routes:
  - name: shop
    match: {host: [shop.example.com], path_prefix: /shop}
    unit: [{header: x-user-id}, {mint_cookie: tg_unit}]
    versions: {stable: {upstream: a, weight: 90}, canary: {upstream: a, weight: 10, fallback: stable}}
    preview: {header: x-version, from: [127.0.0.0/8]}
    rules:
      - {units: [bob], deny: canary}
      - {units: [alice], version: canary}
      - {segment: oslo, version: canary}
      - {segment: nobody, split: {stable: 1, canary: 1}}
  - name: blocked
    match: {host: x.org}
    versions: {only: {upstream: a}}
    rules: [{units: [mallory], deny: only}]
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tidegate.yaml"
    path.write_text(CONFIG)
    return str(path)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(tidegate, arguments, prog_name="tidegate")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_help_lists_all_commands_without_importing_them() -> None:
    program = (
        "import sys\n"
        "from proxy.surfaces.cli.main import tidegate\n"
        "tidegate(['--help'], standalone_mode=False)\n"
        "heavy = {'yaml', 'pydantic', 'aiohttp', 'prometheus_client', 'proxy.settings', 'proxy.control.app'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    for name in COMMANDS:
        assert f"  {name} " in result.stdout


@pytest.mark.parametrize("name", ["validate", "explain", "diff", "schema"])
def test_every_command_has_an_example(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"tidegate {name}" in result.stdout.partition("Example")[2]


def test_python_dash_m_is_the_same_program() -> None:
    result = subprocess.run([sys.executable, "-m", "proxy", "--version"], capture_output=True, text=True, check=False)
    assert result.returncode == 0
    assert result.stdout.startswith("tidegate ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["validate", "--nonsense"],
        ["diff", "one"],
        ["explain", "--url", "http://x/", "--host", "x"],
        ["explain", "--url", "http://"],
        ["explain", "-H", "no colon"],
        ["explain", "--client", "nowhere"],
        ["explain", "--claim", "no equals sign"],
        ["explain", "--path", "/a b"],
        ["explain", "--method", "GE T"],
        ["explain", "-H", "x y: z"],
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str], config: str) -> None:
    extra = ["-c", config] if arguments[0] == "explain" else []
    result = run(*arguments, *extra)
    assert result.exit_code == 2
    assert "Usage: tidegate" in result.stderr


def test_validate_says_that_a_file_is_fine(config: str) -> None:
    result = run("validate", "-c", config)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f"{config} is fine: 2 routes, 1 upstream\n"


def test_validate_shows_every_error_and_its_line(config: str) -> None:
    Path(config).write_text(CONFIG.replace("weight: 90", "weigth: 90").replace("deny: canary", "deny: canray"))
    result = run("validate", "-c", config)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"{config}:10:38: routes[0].versions.stable.weigth: unknown key; did you mean `weight`?",
        "   10 |     versions: {stable: {upstream: a, weigth: 90}, canary: {upstream: a, weight: 10, fallback: stable}}",
        "      |                                      ^^^^^^",
        f"{config}:13:30: routes[0].rules[0].deny: there is no version `canray`; did you mean `canary`?",
        "   13 |       - {units: [bob], deny: canray}",
        "      |                              ^^^^^^",
        "2 errors",
    ]


def test_validate_as_json(config: str) -> None:
    fine = json.loads(run("validate", "-c", config, "--json").stdout)
    assert fine == {"file": config, "valid": True, "errors": [], "warnings": []}
    Path(config).write_text(CONFIG.replace("deny: canary", "deny: canray") + "drain: {limit: 60s}\n")
    result = run("validate", "-c", config, "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 1
    assert found["valid"] is False
    assert [(one["path"], one["line"]) for one in found["errors"]] == [("routes[0].rules[0].deny", 13)]
    assert [one["path"] for one in found["warnings"]] == ["drain"]


def test_validate_shows_warnings_and_stays_fine(config: str) -> None:
    Path(config).write_text(CONFIG + "drain: {limit: 60s}\n")
    result = run("validate", "-c", config)
    assert result.exit_code == 0
    assert "warning: drain: leaving may take 62s" in result.stderr
    assert result.stdout.endswith("(1 warning)\n")


@pytest.mark.parametrize("name", ["validate", "explain"])
def test_a_file_that_is_not_there_is_code_1(name: str, tmp_path: Path) -> None:
    result = run(name, "-c", f"{tmp_path}/nowhere.yaml")
    assert result.exit_code == 1
    assert f"{tmp_path}/nowhere.yaml:1:1: there is no such file" in result.stderr


def test_schema_is_printed() -> None:
    assert run("schema").stdout == schema_text()


def test_diff_says_who_moves(config: str, tmp_path: Path) -> None:
    other = tmp_path / "new.yaml"
    other.write_text(CONFIG.replace("weight: 90", "weight: 80").replace("weight: 10,", "weight: 20,"))
    result = run("diff", config, str(other))
    assert result.exit_code == 0
    assert result.stdout == (
        "route shop: weights stable 90 -> 80, canary 10 -> 20;"
        " 10 % of units move (10 % into canary, 10 % out of stable)\n"
    )
    found = json.loads(run("diff", config, str(other), "--json").stdout)
    assert found["splits"][0]["moved"] == pytest.approx(0.1)
    assert run("diff", config, config).stdout == "nothing changes\n"


def test_diff_with_a_bad_file_is_code_1(config: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("listen: 1")
    assert run("diff", config, f"{tmp_path}/bad.yaml").exit_code == 1


def explained(config: str, *arguments: str) -> dict[str, object]:
    result = run("explain", "-c", config, "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    found: dict[str, object] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize(
    ("arguments", "version", "reason", "rule"),
    [
        (["--unit", "alice"], "canary", "override", "rules[1]"),
        (["--unit", "bob"], "stable", "deny", "rules[0]"),
        (["-H", "x-user-id: alice"], "canary", "override", "rules[1]"),
        (["--unit", "bob", "-H", "x-geo-city: Oslo"], "stable", "deny", "rules[0]"),
        (["--unit", "carol", "-H", "X-Geo-City: Oslo"], "canary", "segment", "rules[2]"),
        (["--unit", "carol", "-H", "x-version: canary"], "canary", "preview", ""),
    ],
)
def test_explain_names_version_reason_and_rule(
    config: str, arguments: list[str], version: str, reason: str, rule: str
) -> None:
    found = explained(config, "--route", "shop", *arguments)
    assert (found["version"], found["reason"], found["rule"]) == (version, reason, rule)


def test_explain_takes_an_empty_unit_for_none_as_the_proxy_does(config: str) -> None:
    found = explained(config, "--route", "shop", "--unit", "", "-H", "x-user-id: alice")
    assert (found["unit"], found["version"]) == ("alice", "canary")
    empty, without = (
        explained(config, "--route", "shop", *unit)
        for unit in (["--unit", "", "-H", "x-user-id:"], ["-H", "x-user-id:"])
    )
    assert empty == without
    assert empty["unit"] is None


def test_explain_finds_the_route_of_a_request(config: str) -> None:
    url = "http://shop.example.com:8080/shop/cart?x=y"
    assert explained(config, "--url", url, "--unit", "u")["route"] == "shop"
    assert explained(config, "--host", "x.org", "--unit", "u")["route"] == "blocked"
    result = run("explain", "-c", config, "--url", "http://shop.example.com/shopping")
    assert (result.exit_code, result.stderr) == (
        1,
        "no route takes GET /shopping for shop.example.com: the answer is 404\n",
    )


def test_explain_believes_forwarded_addresses_of_trusted_proxies_only(config: str) -> None:
    wish = ["--route", "shop", "--unit", "u", "-H", "x-version: canary"]
    through = ["-H", "x-forwarded-for: 127.0.0.1"]
    assert explained(config, *wish, "--client", "10.0.0.1")["reason"] == "split"
    assert explained(config, *wish, "--client", "10.0.0.1", *through)["reason"] == "preview"
    assert explained(config, *wish, "--client", "192.0.2.1", *through)["reason"] == "split"


def test_explain_says_that_a_unit_would_be_minted(config: str) -> None:
    result = run("explain", "-c", config, "--route", "shop")
    assert result.exit_code == 0
    assert result.stdout.startswith("route shop: a request without a unit\n")
    assert "note: no unit came with the request: one is minted into the cookie tg_unit" in result.stdout


def test_explain_in_words(config: str) -> None:
    result = run("explain", "-c", config, "--route", "shop", "--unit", "alice", "-H", "x-version: canary")
    assert result.stdout.splitlines() == [
        "route shop: unit alice gets canary",
        "  reason   preview",
        "  unit     alice",
        "  bucket   3511 of 10000",
        "  split    stable 90 %, canary 10 %",
        "  next     canary (override, rules[1])",
        "  path",
        "    kill: not configured",
        "    deny rules[0]: does not hold",
        "      denies canary",
        "    preview: decides: canary (asked for by name)",
        "    override rules[1]: would have been next: canary",
        "      gives version canary",
        "    ring: not configured",
        "    segment rules[2]: does not hold",
        "      gives version canary",
        "      no  segment oslo",
        "        no  header x-geo-city in ['Oslo']: was not there",
        "    segment rules[3]: does not hold",
        "      gives split stable 1, canary 1",
        "      no  segment nobody",
        "        no  all of",
        "          no  not",
        "            yes path prefix '/': was '/shop'",
        "          no  segment oslo",
        "            no  header x-geo-city in ['Oslo']: was not there",
        "    holdout: not configured",
        "    layer: not configured",
        "    sticky: not configured",
        "    split: would have come later: canary (the draw)",
        "    default: would have come later: stable (what is left when nothing else decides)",
        "    fallback versions.canary.fallback: stands by: stable (answers where canary cannot)",
    ]


FLAGS = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: ["http://127.0.0.1:9001"]}}
segments: {norway: {attribute: country, in: ["NO"]}}
flags:
  cart:
    default: off
    prerequisites: {base: on}
    rules: [{units: [alice], variant: on}, {segment: norway, split: {on: 100, off: 0}}]
  base: {default: on}
  dealt: {default: off, split: {on: 50, off: 50}}
  shop: {route: shop}
routes:
  - name: shop
    unit: [{header: x-user}]
    inject_flags: [cart, shop, dealt]
    rules: [{units: [alice], version: canary}]
    versions: {stable: {upstream: a, weight: 1}, canary: {upstream: a, weight: 0}}
  - {name: mint, match: {path: /mint}, unit: [{mint_cookie: me}], inject_flags: [cart, dealt], versions: {only: {upstream: a}}}
"""


@pytest.fixture
def flagged(tmp_path: Path) -> str:
    file = tmp_path / "flags.yaml"
    file.write_text(FLAGS)
    return str(file)


def test_explain_of_a_flag_in_words(flagged: str) -> None:
    result = run("explain", "-c", flagged, "--flag", "cart", "--unit", "alice", "--attribute", "country=NO")
    assert result.stdout.splitlines() == [
        "flag cart: unit alice gets on",
        "  value    true",
        "  reason   TARGETING_MATCH (rule rules[0])",
        "  unit     alice",
        "  bucket   6809 of 10000",
        "  next     on (SPLIT (rule rules[1]))",
        "  path",
        "    off: does not hold (it is on)",
        "    over: not configured",
        "    prerequisite prerequisites.base: is met (base comes to on (STATIC, static), wanted: on)",
        "    rule rules[0]: decides: on",
        "      gives on",
        "    rule rules[1]: would have been next: on (drawn from its split)",
        "      gives split on 100, off 0",
        "      yes segment norway",
        "        yes attribute country in ['NO']: was 'NO'",
        "    split: not configured",
        "    default: would have come later: off (what is left when nothing else decides)",
    ]


def test_explain_of_a_flag_that_follows_a_route_has_the_routes_path(flagged: str) -> None:
    said = run("explain", "-c", flagged, "--flag", "shop", "--unit", "alice").stdout.splitlines()
    assert said[:6] == [
        "flag shop: unit alice gets canary",
        '  value    "canary"',
        "  reason   TARGETING_MATCH (override rules[0])",
        "  unit     alice",
        "  bucket   3511 of 10000",
        "  next     stable (SPLIT (split))",
    ]
    assert said[said.index("  path of route shop") + 4] == "    override rules[0]: decides: canary"


def test_explain_of_a_flag_without_the_unit_it_wants(flagged: str) -> None:
    said = run("explain", "-c", flagged, "--flag", "dealt").stdout.splitlines()
    assert said[:2] == [
        "flag dealt: a request without a unit gets no draw, which is due",
        "  asked    TARGETING_KEY_MISSING over OFREP; upstreams are told the default, off",
    ]


def test_explain_of_a_route_tells_what_its_upstream_is_told_of_flags(flagged: str) -> None:
    said = run("explain", "-c", flagged, "--route", "shop", "-H", "x-user: alice").stdout.splitlines()
    assert [one for one in said if one.startswith("  flag")][:2] == [
        "  flag     cart: on (rule, rules[0])",
        "  flag     shop: canary (override, rules[0])",
    ]
    assert "  flag     dealt: off (no_unit)" in run("explain", "-c", flagged, "--route", "shop").stdout
    minted = run("explain", "-c", flagged, "--route", "mint").stdout
    assert "  flag     cart: off (default)\n  flag     dealt: drawn for the unit (no_unit)\n" in minted


def test_explain_of_a_flag_as_a_route_tells_it(flagged: str) -> None:
    found = explained(flagged, "--flag", "cart", "--route", "shop", "-H", "x-user: alice")
    assert (found["unit"], found["unit_kind"], found["variant"], found["notes"]) == ("alice", "header", "on", [])
    minted = run("explain", "-c", flagged, "--flag", "base", "--route", "mint").stdout
    assert "note: route mint does not tell its upstreams of this flag: it is not in `inject_flags`" in minted
    assert "its variant is the luck of the draw" in minted


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--flag", "nobody"], 1, "there is no flag nobody; flags: base, cart, dealt, shop"),
        (["--flag", "cart", "--attribute", "x"], 2, "Invalid value for --attribute: 'x' is not NAME=VALUE"),
        (["--route", "shop", "--attribute", "x=y"], 2, "Invalid value for --attribute: attributes are those of"),
        (["--flag", "cart", "--route", "shop", "--attribute", "x=y"], 2, "Invalid value for --attribute: attributes"),
    ],
)
def test_flag_that_cannot_be_explained(flagged: str, arguments: list[str], code: int, message: str) -> None:
    result = run("explain", "-c", flagged, *arguments)
    assert result.exit_code == code
    assert message in result.stderr


EVERY_KIND = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: [http://127.0.0.1:9001]}}
segments:
  staff: {header: x-email, suffix: "@example.com"}
  oslo: {header: x-geo-city, is: Oslo}
holdouts: {q4: {percent: 50}}
layers: {checkout: {}}
routes:
  - name: shop
    unit: [{header: x-user}]
    versions: {stable: {upstream: a, weight: 50}, canary: {upstream: a, weight: 50}, other: {upstream: a, weight: 0, kill: true}}
    holdout: q4
    layer: {name: checkout, from: 0, to: 50}
    epoch: 2
    preview: {}
    rings: [{version: canary, order: [staff, oslo], open: staff}]
    rules:
      - {units: [bob4], deny: canary}
      - {units: [alice, eve], version: canary}
      - {units: [eve], deny: stable}
      - {units: [eve], deny: canary}
      - {segment: oslo, version: canary}
  - name: dead
    match: {path: /dead}
    kill: true
    unit: [{header: x-user}]
    versions: {stable: {upstream: a}, canary: {upstream: a, weight: 100}}
  - name: anybody
    match: {path: /any}
    unit: [{mint_cookie: me}]
    versions: {stable: {upstream: a, weight: 1}, canary: {upstream: a, weight: 1}}
    rules: [{segment: oslo, version: canary}]
"""


@pytest.fixture
def every_kind(tmp_path: Path) -> str:
    file = tmp_path / "kinds.yaml"
    file.write_text(EVERY_KIND)
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "reason", "line"),
    [
        (
            ["--route", "dead", "--unit", "u"],
            "kill",
            "    kill route.kill: decides: stable (everybody gets the default version)",
        ),
        (
            ["--route", "shop", "--unit", "bob4"],
            "deny",
            "    split: decides: stable (canary won the draw, and was taken out; drawn again among the rest)",
        ),
        (
            ["--route", "shop", "--unit", "u", "-H", "x-tidegate-version: canary"],
            "preview",
            "    preview: decides: canary (asked for by name)",
        ),
        (["--route", "shop", "--unit", "alice"], "override", "    override rules[1]: decides: canary"),
        (
            ["--route", "shop", "--unit", "u", "-H", "x-email: a@example.com"],
            "ring",
            "    ring rings[0].staff: decides: canary (in an open ring)",
        ),
        (
            ["--route", "shop", "--unit", "u", "-H", "x-geo-city: Oslo"],
            "segment",
            "    segment rules[4]: decides: canary",
        ),
        (["--route", "shop"], "default", "    default: decides: stable (what is left when nothing else decides)"),
    ],
)
def test_explain_tells_the_path_for_every_reason(every_kind: str, arguments: list[str], reason: str, line: str) -> None:
    assert explained(every_kind, *arguments)["reason"] == reason
    said = run("explain", "-c", every_kind, *arguments).stdout.splitlines()
    assert line in said
    kinds = [one.split()[0].rstrip(":") for one in said if re.match(r" {4}\S", one)]
    assert list(dict.fromkeys(kinds)) == [
        "kill", "deny", "preview", "override", "ring", "segment", "holdout", "layer", "sticky", "split", "default",
        "fallback",
    ]  # fmt: skip


def test_explain_tells_where_a_unit_stands_in_a_holdout_and_a_layer(every_kind: str) -> None:
    found = {}
    for number in range(40):
        arguments = ["--route", "shop", "--unit", f"u{number}"]
        found.setdefault(explained(every_kind, *arguments)["reason"], arguments)
    assert set(found) == {"holdout", "layer", "split"}
    said = {str(reason): run("explain", "-c", every_kind, *found[reason]).stdout for reason in found}
    assert "    holdout holdouts.q4: decides: stable (the unit stands at " in said["holdout"]
    assert "    layer layers.checkout: decides: stable (the unit stands at " in said["layer"]
    assert "those below 50 are held out)\n" in said["split"]
    assert "the route has 0 to 50)\n" in said["split"]
    assert "  epoch    2\n" in said["split"]
    assert "  denied   other (killed)\n" in said["split"]
    assert "    kill versions.other.kill: takes out other (nobody gets it)\n" in said["split"]


def test_explain_is_asked_about_another_time(every_kind: str) -> None:
    Path(every_kind).write_text(EVERY_KIND.replace("kill: true\n", "kill: {until: 2099-01-01T00:00:00Z}\n"))
    asked = ["--route", "dead", "--unit", "u", "--at"]
    assert explained(every_kind, *asked, "2098-12-31T23:59:59Z")["reason"] == "kill"
    over = run("explain", "-c", every_kind, *asked, "2099-01-01T00:00:00Z")
    assert "    kill route.kill: is over (since Thu, 01 Jan 2099 00:00:00 GMT)\n" in over.stdout
    wrong = run("explain", "-c", every_kind, *asked, "tomorrow")
    assert (wrong.exit_code, "Invalid value for --at: must be a point in time" in wrong.stderr) == (2, True)


def test_explain_knows_what_does_not_hang_on_the_unit_that_is_minted(every_kind: str) -> None:
    assert explained(every_kind, "--route", "anybody")["drawn"] is True
    known = explained(every_kind, "--route", "anybody", "-H", "x-geo-city: Oslo")
    assert (known["version"], known["reason"], known["drawn"]) == ("canary", "segment", False)


HASHED = """\
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: [http://127.0.0.1:9001]}, b: {endpoints: [http://127.0.0.1:9002]}}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    hash: {family: unleash, group: checkout}
    default: stable
    versions: {canary: {upstream: b, weight: 10}, blue: {upstream: b}, stable: {upstream: a, weight: 90}}
    rules: [{units: [bob], split: {canary: 1, stable: 1}}]
"""


def test_explain_in_words_where_another_systems_hash_deals(tmp_path: Path) -> None:
    path = tmp_path / "hashed.yaml"
    path.write_text(HASHED)
    # UnleashClient 6.9.1 says 10 for alice in the group checkout.
    result = run("explain", "-c", str(path), "--route", "shop", "--unit", "alice")
    assert result.stdout.splitlines()[:5] == [
        "route shop: unit alice gets canary",
        "  reason   split",
        "  unit     alice",
        "  hash     unleash: bucket 10; canary 1 to 10, blue none, stable 11 to 100",
        "  split    canary 10 %, blue 0 %, stable 90 %",
    ]
    result = run("explain", "-c", str(path), "--route", "shop", "--unit", "bob")
    assert "      unleash: bucket 40; canary 1 to 50, stable 51 to 100" in result.stdout.splitlines()
    path.write_text(
        HASHED.replace("{family: unleash, group: checkout}", "{family: launchdarkly, key: checkout, salt: 5f1c}")
    )
    result = run("explain", "-c", str(path), "--route", "shop", "--unit", "alice")
    told = "launchdarkly: bucket 0.7064357063; canary 0 up to 0.1, blue none, stable 0.1 up to 1"
    assert f"  hash     {told}" in result.stdout.splitlines()
    result = run("explain", "-c", str(path), "--route", "shop")
    assert "  hash     launchdarkly: canary 0 up to 0.1, blue none, stable 0.1 up to 1" in result.stdout.splitlines()


def test_explain_when_every_version_is_denied(config: str) -> None:
    result = run("explain", "-c", config, "--route", "blocked", "--unit", "mallory")
    assert result.exit_code == 0
    assert "route blocked: unit mallory gets no version: all are denied or killed (403)" in result.stdout


def test_explain_notes_that_the_request_would_go_elsewhere(config: str) -> None:
    found = explained(config, "--route", "blocked", "--unit", "u", "--host", "shop.example.com", "--path", "/shop")
    assert found["notes"] == ["this request goes to route shop, not to blocked"]
    found = explained(config, "--route", "shop", "--unit", "u", "--host", "nowhere.org")
    assert found["notes"] == ["no route takes this request: 404"]


def test_explain_asks_no_plugin_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "from proxy.plugin import Plugin\nclass P(Plugin):\n    def decide(self, request, proposed):\n        return 'b'\n"
    )
    path = tmp_path / "tidegate.yaml"
    path.write_text(
        "listen: 127.0.0.1:8080\nplugins: [{name: p, file: p.py}]\nupstreams: {u: {endpoints: [http://127.0.0.1:1]}}\n"
        "routes: [{name: r, versions: {a: {upstream: u, weight: 1}, b: {upstream: u, weight: 0}}, plugins: [p]}]\n"
    )
    found = explained(str(path), "--route", "r", "--unit", "u")
    assert found["version"] == "a"
    assert found["notes"] == ["plugins are asked by workers alone, and may name another unit or version: p"]


def test_explain_names_the_routes_there_are(config: str) -> None:
    result = run("explain", "-c", config, "--route", "shoop")
    assert (result.exit_code, result.stderr) == (1, "there is no route shoop; routes: shop, blocked\n")


LISTED = CONFIG.replace("oslo: {header: x-geo-city, in: [Oslo]}", "oslo: {units_file: oslo.txt}")


def with_list(directory: Path, *units: str) -> str:
    directory.mkdir(exist_ok=True)
    (directory / "oslo.txt").write_text("".join(f"{unit}\n" for unit in units))
    (directory / "tidegate.yaml").write_text(LISTED)
    return str(directory / "tidegate.yaml")


def test_explain_looks_into_lists(tmp_path: Path) -> None:
    config = with_list(tmp_path, "carol", "dave")
    shown = run("explain", "-c", config, "--route", "shop", "--unit", "dave").output
    assert "reason   segment (rules[2])" in shown
    assert "yes unit listed 'oslo.txt': was 'dave'" in shown
    shown = run("explain", "-c", config, "--route", "shop", "--unit", "dav").output
    assert "no  unit listed 'oslo.txt': was 'dav'" in shown


def test_diff_tells_who_enters_and_leaves_a_list(tmp_path: Path) -> None:
    old, new = with_list(tmp_path / "old", "carol", "dave"), with_list(tmp_path / "new", "dave", "erin", "frank")
    result = run("diff", old, new)
    assert result.output.splitlines()[0] == "list oslo.txt: 2 units enter, 1 leaves"
    value = json.loads(run("diff", old, new, "--json").output)
    assert value["lists"] == [{"name": "oslo.txt", "was": "oslo.txt", "units": 3, "entering": 2, "leaving": 1}]


def test_validate_says_what_is_wrong_with_a_list(tmp_path: Path) -> None:
    config = with_list(tmp_path, "carol", "x" * 2000)
    assert run("validate", "-c", config).exit_code == 0
    assert "1 of the lines of" in run("validate", "-c", config).stderr
    (tmp_path / "oslo.txt").unlink()
    result = run("validate", "-c", config)
    assert result.exit_code == 1
    assert f"segments.oslo.units_file: there is no file {tmp_path / 'oslo.txt'}" in result.stderr
