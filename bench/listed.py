"""How long a list of units takes to read, and a decision over three of them: `python bench/listed.py UNITS` prints JSON.

Imports nothing of the bench, so that it can be run against an installed, compiled Tidegate as well as beside the sources.
CPU time is measured, which other programs on the machine disturb less than they do the clock.
"""

import json
import random
import sys
import tempfile
import time
from pathlib import Path

from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.http1 import parse_request
from proxy.core.plan import Route
from proxy.core.unit_table import UnitList
from proxy.form import compiled
from proxy.settings.loader import load
from proxy.settings.unit_files import read_unit_file

SMALL = 100_000
"""Units of each of the three lists that decisions look into."""
_ASKED = 20_000
_FILE = """
listen: 127.0.0.1:8080
upstreams: {{one: {{endpoints: [http://127.0.0.1:9001]}}}}
secrets: {{cookie: [bench-of-tidegate]}}
segments:
  zero: {{units_file: zero.txt}}
  one: {{units_file: one.txt}}
  two: {{units_file: two.txt}}
  staff: {{header: x-email, suffix: "@example.com"}}
routes:
  - name: measured
    unit: [{{header: x-user-id}}]
    versions: {{stable: {{upstream: one, weight: 90}}, canary: {{upstream: one, weight: 10}}}}
    rules: [{rules}]
"""
_RULES = """
      {segment: zero, deny: canary}, {units: [bob], deny: canary}, {segment: staff, deny: canary},
      {segment: one, version: canary}, {segment: two, split: {stable: 50, canary: 50}}, {units: [alice], version: canary},
      {segment: staff, version: canary}, {when: {header: x-geo-city, in: [Oslo, Bergen]}, version: canary},
      {when: {header: user-agent, contains: Mobile}, version: canary}, {when: {cookie: beta, is: "1"}, version: canary}
"""
_HEAD = (
    b"GET /cart?x=1 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n"
    b"Cookie: sid=0123456789abcdef; theme=dark\r\nx-user-id: user-1\r\nx-geo-city: Paris\r\nx-email: someone@example.org"
)


def write_units(path: Path, count: int, kind: str = "") -> None:
    """A list: `KIND-0000001` and so on, or random UUIDs for `uuid`."""
    if kind == "uuid":
        draw = random.Random(count)
        digits = (f"{draw.getrandbits(128):032x}" for _ in range(count))
        lines = (f"{one[:8]}-{one[8:12]}-{one[12:16]}-{one[16:20]}-{one[20:]}\n" for one in digits)
    else:
        lines = (f"{kind}{number:07}\n" for number in range(count))
    with path.open("w") as file:
        file.writelines(lines)


def reading(directory: Path, count: int, kind: str) -> float:
    """Seconds of CPU to read a list of so many units; the least of three times."""
    path = directory / "list.txt"
    write_units(path, count, kind)
    found = []
    for _ in range(3):
        begun = time.process_time()
        read_unit_file(path)
        found.append(time.process_time() - begun)
    return min(found)


def route_of(directory: Path, rules: str) -> Route:
    """The route and its lists."""
    for name in ("zero", "one", "two"):
        write_units(directory / f"{name}.txt", SMALL, name)
    file = directory / "listed.yaml"
    file.write_text(_FILE.format(rules=rules))
    loaded = load(file, {})
    return build_plan(loaded.spec, lists={name: UnitList(one.table()) for name, one in loaded.lists.items()}).routes[0]


def deciding(route: Route, kind: str) -> float:
    """Nanoseconds of a decision, each for another unit: `KIND-0000001` and so on. The least of some rounds."""
    request = parse_request(_HEAD, 100, 8192)
    request.client = "192.0.2.1"
    units = [f"{kind}{number:07}".encode() for number in range(0, SMALL, SMALL // _ASKED)]
    found = []
    for _ in range(25):
        begun = time.process_time_ns()
        for unit in units:
            request.unit = unit
            decide(route, request, unit)
        found.append((time.process_time_ns() - begun) / len(units))
    return min(found)


def main() -> None:
    """Measure, and print."""
    count = int(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="tidegate-listed-") as temporary:
        directory = Path(temporary)
        plain, ruled = route_of(directory, ""), route_of(directory, _RULES)
        print(
            json.dumps(
                {
                    "compiled": compiled(),
                    "short": reading(directory, count, "user-"),
                    "uuid": reading(directory, count, "uuid"),
                    "plain": deciding(plain, "nobody"),
                    "in none": deciding(ruled, "nobody"),
                    "in the last": deciding(ruled, "two"),
                }
            )
        )


if __name__ == "__main__":
    main()
