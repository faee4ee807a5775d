"""How long a decision takes, in this process: `python bench/deciding.py [repeats]` prints nanoseconds as JSON.

Imports nothing of the bench, so that it can be run against an installed, compiled Tidegate as well as beside the sources.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import proxy.core.decide
from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.http1 import parse_request
from proxy.core.plan import Route
from proxy.settings.loader import load

NAMED = 100_000
"""Units that each of the three long lists names."""
_UNITS = 2_000
_FILE = """
listen: 127.0.0.1:8080
upstreams: {{one: {{endpoints: [http://127.0.0.1:9001]}}}}
secrets: {{cookie: [bench-of-tidegate]}}
segments:
  staff: {{header: x-email, suffix: "@example.com"}}
  office: {{client_ip: {{cidr: [10.1.0.0/16]}}}}
  inside: {{any: [{{segment: staff}}, {{segment: office}}]}}
  cities: {{header: x-geo-city, in: [Oslo, Munich, Bergen]}}
  phones: {{header: user-agent, contains: Mobile}}
  recent: {{header: x-app-version, semver: ">=2.0.0"}}
holdouts: {{q4: {{percent: 5}}}}
layers: {{checkout: {{}}}}
routes:
  - name: measured
    unit: [{{header: x-user-id}}]
    versions: {{stable: {{upstream: one, weight: 90}}, canary: {{upstream: one, weight: 10}}}}
{rules}{more}
"""
_RULES = """
    rules:
      - {units: [listed-0], deny: canary}
      - {units: [bob], deny: canary}
      - {segment: phones, deny: canary}
      - {units: [listed-1], version: canary}
      - {units: [listed-2], split: {stable: 50, canary: 50}}
      - {units: [alice], version: canary}
      - {segment: inside, version: canary}
      - {segment: cities, split: {stable: 50, canary: 50}}
      - {segment: recent, version: canary}
      - {when: {cookie: beta, is: "1"}, version: canary}
"""
_MORE = """
    preview: {from: 10.0.0.0/8}
    holdout: q4
    layer: {name: checkout, from: 0, to: 80}
    rings: [{version: canary, order: [staff, office, recent], open: recent}]
"""
_HEAD = (
    b"GET /cart?x=1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n"
    b"Cookie: sid=0123456789abcdef; theme=dark\r\nx-user-id: user-1\r\nx-geo-city: Paris\r\nx-email: someone@example.org"
)


def route_of(directory: Path, rules: str, more: str) -> Route:
    """The route, its three lists filled up to their length."""
    file = directory / "deciding.yaml"
    file.write_text(_FILE.format(rules=rules, more=more))
    spec: dict[str, Any] = load(file, {}).spec
    for rule in spec["routes"][0]["rules"]:
        name = rule.get("units", [""])[0]
        if name.startswith("listed-"):
            rule["units"] = [f"{name}-{number}" for number in range(NAMED)]
    return build_plan(spec).routes[0]


def nanoseconds(route: Route, repeats: int) -> float:
    """One decision, without what it takes to count through the units. The best of `repeats` rounds: others only add."""
    request = parse_request(_HEAD, 100, 8192)
    request.client = "192.0.2.1"
    units = [b"user-%d" % number for number in range(_UNITS)]
    deciding, counting = [], []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        for unit in units:
            request.unit = unit
            decide(route, request, unit)
        deciding.append(time.perf_counter_ns() - begun)
        begun = time.perf_counter_ns()
        for unit in units:
            request.unit = unit
        counting.append(time.perf_counter_ns() - begun)
    return (min(deciding) - min(counting)) / _UNITS


def main() -> None:
    """Measure, and print."""
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory(prefix="tidegate-deciding-") as temporary:
        routes = [route_of(Path(temporary), *parts) for parts in (("", ""), (_RULES, ""), (_RULES, _MORE))]
    plain, ruled, everything = (nanoseconds(route, repeats) for route in routes)
    compiled = not str(proxy.core.decide.__file__).endswith(".py")
    print(json.dumps({"compiled": compiled, "plain": plain, "ruled": ruled, "everything": everything}))


if __name__ == "__main__":
    main()
