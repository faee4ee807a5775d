"""How long a thousand routes take to load: `python -m bench.settings`.

Prints CPU milliseconds for the first load (YAML parsing included), for a reload where no file changed (validation, checks and
compilation alone: what has to stay under 300 ms), for one where a single included file did, and for building the plan.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from proxy.core.build import build_plan
from proxy.settings import Loader

ROUTES = 1000
FILES = 20
ROUNDS = 5

ROUTE = """\
  - name: r{n}
    match: {{host: h{host}.example.com, path_prefix: /p{n}, headers: {{x-a: b}}}}
    unit: [{{header: x-user-id}}, {{mint_cookie: tg_unit}}]
    versions:
      stable: {{upstream: u{n}, weight: 95}}
      canary: {{upstream: u{n}-next, weight: 5, fallback: stable}}
    rules:
      - {{units: [bob], deny: canary}}
      - {{when: {{header: x-geo-city, in: [Oslo]}}, version: canary}}
    mirror: [{{upstream: u{n}-next, percent: 10}}]
"""


def write_configuration(directory: Path) -> Path:
    """A thousand routes with two upstreams each, in twenty included files."""
    main = directory / "main.yaml"
    main.write_text("listen: 0.0.0.0:8080\nstate: sqlite:x.db\ninclude: ['routes-*.yaml']\n")
    for index in range(FILES):
        numbers = range(index * ROUTES // FILES, (index + 1) * ROUTES // FILES)
        upstreams = "".join(
            f"  u{n}: {{endpoints: [http://127.0.0.1:9001]}}\n  u{n}-next: {{endpoints: [http://127.0.0.1:9002]}}\n"
            for n in numbers
        )
        routes = "".join(ROUTE.format(n=n, host=n % 50) for n in numbers)
        (directory / f"routes-{index:02}.yaml").write_text(f"upstreams:\n{upstreams}routes:\n{routes}")
    return main


def cpu(work: Callable[[], object]) -> float:
    """CPU milliseconds of one call."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as place:
        path = write_configuration(Path(place))
        loader = Loader(path, {})
        print(f"{ROUTES} routes in {FILES} files; CPU milliseconds, the median of {ROUNDS} after the first")
        print(f"first load, parsing included    {cpu(loader.load):7.1f}")
        print(f"reload, nothing parsed          {sorted(cpu(loader.load) for _ in range(ROUNDS))[ROUNDS // 2]:7.1f}")
        changed = path.parent / "routes-07.yaml"
        times = []
        for weight in range(ROUNDS):
            changed.write_text(changed.read_text().replace(f"weight: {95 + weight}", f"weight: {96 + weight}"))
            times.append(cpu(loader.load))
        print(f"reload, one file parsed         {sorted(times)[ROUNDS // 2]:7.1f}")
        spec = loader.load().spec
        print(f"building the plan in one piece  {cpu(lambda: build_plan(spec)):7.1f}")


if __name__ == "__main__":
    main()
