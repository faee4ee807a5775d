"""The reference vectors of other systems, where they are beside the checkout: Unleash's client specification, flagd's table."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mmh3 import mmh3_32_uintdigest

from tests.families import dealer

VECTORS = Path(__file__).resolve().parents[4] / "shared" / "vectors"
pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason="the reference vectors are not beside this checkout")

GRADUAL, VARIANT = 19, 21  # cases that a hash alone decides: fewer, and they were not found
ROLLOUTS = {
    "gradualRolloutUserId": ("userId", "percentage"),
    "gradualRolloutSessionId": ("sessionId", "percentage"),
    "flexibleRollout": ("", "rollout"),
}


def _cases(kind: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(feature, case) of each file of the client specification that has features of its own."""
    for file in sorted((VECTORS / "unleash").glob("[0-9]*.json")):
        document = json.loads(file.read_text())
        features = {one["name"]: one for one in document.get("state", {}).get("features", [])}
        for case in document.get(kind, []):
            if case["toggleName"] in features:
                yield features[case["toggleName"]], case


def _unit(context: dict[str, Any], stickiness: str) -> str | None:
    if stickiness in {"", "default"}:
        return context.get("userId") or context.get("sessionId")
    return context.get(stickiness) or context.get("properties", {}).get(stickiness)


def _lone_rollout(feature: dict[str, Any]) -> tuple[str, str, float] | None:
    """Stickiness, group and percentage, where a gradual rollout alone decides."""
    strategies = feature.get("strategies", [])
    if not feature["enabled"] or len(strategies) != 1 or strategies[0]["name"] not in ROLLOUTS:
        return None
    if strategies[0].get("constraints") or strategies[0].get("segments") or feature.get("dependencies"):
        return None
    named, key = ROLLOUTS[strategies[0]["name"]]
    parameters = strategies[0]["parameters"]
    return named or parameters.get("stickiness", "default"), parameters["groupId"], float(parameters[key])


def test_gradual_rollouts_are_those_of_the_client_specification() -> None:
    count = 0
    for feature, case in _cases("tests"):
        rollout = _lone_rollout(feature)
        unit = None if rollout is None else _unit(case["context"], rollout[0])
        if rollout is None or unit is None:
            continue
        _, group, percent = rollout
        spec = {"family": "unleash", "group": group, "variants": False, "total": 1000}
        dealt = dealer(spec, [percent, 100 - percent])
        assert (dealt.deal(unit.encode()) == 0) == case["expectedResult"], case["description"]
        count += 1
    assert count == GRADUAL


def test_variants_are_those_of_the_client_specification() -> None:
    count = 0
    for feature, case in _cases("variantTests"):
        strategies = feature.get("strategies", [])
        own = next((one for one in strategies if one.get("variants")), None)
        variants = own["variants"] if own else feature.get("variants")
        group = own["parameters"]["groupId"] if own else feature["name"]
        if not variants or not case["expectedResult"]["enabled"] or any("overrides" in one for one in variants):
            continue
        sticky = (own["parameters"] if own else variants[0]).get("stickiness", "default")
        unit = _unit(case["context"], sticky)
        if unit is None:
            continue
        weights = [float(one["weight"]) for one in variants]
        spec = {"family": "unleash", "group": group, "variants": True, "total": int(sum(weights))}
        found = variants[dealer(spec, weights).deal(unit.encode())]["name"]
        assert found == case["expectedResult"]["name"], case["description"]
        count += 1
    assert count == VARIANT


def _examples(version: str) -> Iterator[tuple[str, str, str, str]]:
    """(scenario, flag, unit, value) of the table's rows under a version's tag."""
    scenario = flag = tag = ""
    for raw in (VECTORS / "flagd" / "fractional.feature").read_text().splitlines():
        line = raw.strip()
        if line.startswith("@"):
            tag = line
        elif line.startswith("Scenario"):
            scenario = line
            outline = tag
        elif line.startswith("Examples") and line == "Examples:":
            tag = outline
        elif found := re.search(r'-flag with key "([^"]+)"', line):
            flag = found[1]
        elif line.startswith("|") and tag == f"@fractional-{version}" and "| value" not in line:
            unit, value = (cell.strip() for cell in line.strip("|").split("|"))
            yield scenario, flag, unit, value


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_fractional_is_that_of_flagds_table(version: str) -> None:
    flags = json.loads((VECTORS / "flagd" / "testkit-flags.json").read_text())["flags"]
    rows = list(_examples(version))
    assert len(rows) >= 15
    for scenario, name, unit, value in rows:
        flag = flags[name]
        first, *rest = flag["targeting"]["fractional"]
        cat: str | None = None
        if isinstance(first, dict):
            parts = first.get("cat", [""])[0]
            cat = name if isinstance(parts, dict) else parts
        else:
            rest = [first, *rest]
        weights = [float(one[1]) if len(one) == 2 else 1.0 for one in rest]
        dealt = dealer({"family": f"flagd-{version}", "key": name, "cat": cat}, weights)
        assert flag["variants"][rest[dealt.deal(unit.encode())][0]] == value, (scenario, unit)


def test_mmh3_with_seeds_is_that_of_the_reference() -> None:
    rows = [row for row in json.loads((VECTORS / "mmh3" / "mmh3-vectors.json").read_text()) if row["fn"] == "hash"]
    rows = [row for row in rows if set(row["kwargs"]) <= {"signed"}]
    assert {row["seed"] for row in rows} > {0, 1}
    for row in rows:
        assert mmh3_32_uintdigest(bytes.fromhex(row["data_hex"]), row["seed"]) == row["expected"] % 2**32


def test_mmh3_has_smhashers_verification_constant() -> None:
    expected = int(json.loads((VECTORS / "mmh3" / "smhasher-verification.json").read_text())["MurmurHash3_x86_32"], 16)
    digests = b"".join(
        mmh3_32_uintdigest(bytes(range(length)), 256 - length).to_bytes(4, "little") for length in range(256)
    )
    assert mmh3_32_uintdigest(digests, 0) == expected
