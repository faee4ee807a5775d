"""`tidegate exposures`: who got which version, when and why, from the file beside the state store; and forgetting one unit."""

import json
import sqlite3
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import click

from proxy.surfaces.cli.loading import config_option, load_or_exit, print_json

Spec = dict[str, Any]


@click.command("exposures")
@config_option()
@click.option("--unit", metavar="UNIT", help="Of this unit, as requests bring it.")
@click.option("--unit-hash", metavar="HASH", help="Of the unit with this hash, as in x-tidegate-unit-hash.")
@click.option("--version", metavar="VERSION", help="Of this version.")
@click.option("--route", metavar="NAME", help="Of this route.")
@click.option("--since", metavar="WHEN", help="Not before: `1h` or `7d` ago, `2026-12-01T00:00:00Z`, or Unix seconds.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=100, show_default=True, help="At most so many.")
@click.option("--erase-unit", metavar="UNIT", help="Forget this unit: its records, and its lines in the stream.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    *,
    path: str,
    unit: str | None,
    unit_hash: str | None,
    version: str | None,
    route: str | None,
    since: str | None,
    limit: int,
    erase_unit: str | None,
    as_json: bool,
) -> None:
    """Who got which version, when and why, the newest first.

    Without --unit, --version and --since: how many units each version has had, and whether the splits are what was asked
    for. Reads the file, so that it works whether or not the proxy runs; relative paths are relative to the working directory.

    Exits with 1 when there is nothing to read.

    \b
    Examples:
      tidegate exposures -c config/tidegate.yaml
      tidegate exposures --unit alice
      tidegate exposures --route shop --version canary --since 1h --json
      tidegate exposures --erase-unit alice
    """
    if unit is not None and unit_hash is not None:
        raise click.UsageError("--unit and --unit-hash are two ways to say who: give one")
    if erase_unit is not None and (unit or unit_hash or version or route or since):
        raise click.UsageError("--erase-unit forgets all of a unit: give nothing else")
    from proxy.exposure.queries import Wanted
    from proxy.exposure.schema import ExposureError, NoExposuresError

    settings = load_or_exit(path, as_json=as_json).settings
    if settings.state is None:
        _fail("there is no `state: sqlite:PATH`, beside which exposures are kept")
    try:
        if erase_unit is not None:
            _erase(settings, _hash_of(settings, erase_unit), as_json=as_json)
            return
        who = None if unit is None else _hash_of(settings, unit)
        if unit_hash is not None:
            who = _read_hash(unit_hash)
        if who is None and version is None and since is None:
            _summarise(settings, route, as_json=as_json)
        else:
            _list(settings, Wanted(who, version, route, _since(since)), limit, as_json=as_json)
    except NoExposuresError as error:
        _fail(f"{error}{_elsewhere(settings)}")
    except (ExposureError, sqlite3.Error, OSError) as error:
        _fail(str(error))


def _elsewhere(settings: Any) -> str:
    """What to do where nothing is found, when the store's place depends on where one stands."""
    if Path(settings.state.partition(":")[2]).is_absolute():
        return ""
    return f". `state: {settings.state}` was looked for in {Path.cwd()}: ask in the directory in which the proxy was started"


def _unknown(settings: Any, route: str | None, version: str | None) -> str:
    """What of a question the file does not know: it may be over, or misspelt."""
    routes = [one for one in settings.routes if route in (None, one.name)]
    if not routes:
        return f"; the file has no route {route}: {', '.join(one.name for one in settings.routes)}"
    versions = list(dict.fromkeys(name for one in routes for name in one.versions))
    if version is not None and version not in versions:
        return f"; the file has no version {version}{f' of route {route}' if route else ''}: {', '.join(versions)}"
    return ""


def _list(settings: Any, wanted: Any, limit: int, *, as_json: bool) -> None:
    from proxy.exposure.queries import Reader
    from proxy.exposure.schema import file_beside

    records: list[Spec] = []
    cursor = ""
    with Reader(file_beside(settings.state, Path.cwd())) as reader:
        while len(records) < limit:
            page = reader.find(wanted, limit - len(records), cursor)
            records += page.records
            cursor = page.cursor
            if not cursor:
                break
    if as_json:
        print_json({"exposures": records, "more": bool(cursor)})
        return
    for one in records:
        click.echo(_line(one))
    if not records:
        click.echo(f"nothing was recorded of that{_unknown(settings, wanted.route, wanted.version)}", err=True)
    if cursor:
        click.echo(f"there are more; --limit {limit} were shown", err=True)


def _line(one: Spec) -> str:
    """`2026-11-21 17:00:00.000Z  shop  90f1c2...  canary (was stable)  split, bucket 4711, header; plan 3`."""
    moved = "" if one["before"] is None else f" (was {one['before']})"
    reason = one["reason"] + (f" {one['rule']}" if one["rule"] else "")
    words = [reason, f"bucket {one['bucket']}", f"from {one['source']}", f"plan {one['plan']}"]
    if one["bot"]:
        words.append("bot")
    return (
        f"{_time(one['at'])}  {one['route']}  {one['raw'] or one['unit']}  {one['version']}{moved}  {', '.join(words)}"
        f"  {one['request_id']}"
    )


def _summarise(settings: Any, route: str | None, *, as_json: bool) -> None:
    from proxy.exposure.queries import Reader
    from proxy.exposure.schema import file_beside
    from proxy.exposure.shown import ratio_values, version_values
    from proxy.exposure.writer import mismatch_text

    with Reader(file_beside(settings.state, Path.cwd())) as reader:
        versions = reader.summary(route)
        ratios = [one for one in reader.ratios() if route in (None, one.route)]
    if as_json:
        print_json(
            {
                "versions": [version_values(one) for one in versions],
                "sample_ratios": [ratio_values(one) for one in ratios],
            }
        )
        return
    for one in versions:
        reasons = ", ".join(f"{reason} {count}" for reason, count in (one.reasons or {}).items())
        click.echo(
            f"{one.route}  {one.version}  {one.units} units, first {_time(one.first)}, last {_time(one.last)}  ({reasons})"
        )
    for ratio in ratios:
        if ratio.mismatch:
            click.secho(mismatch_text(ratio), fg="red")
    if not versions:
        click.echo(f"nothing was recorded yet{_unknown(settings, route, None)}", err=True)


def _erase(settings: Any, unit: int, *, as_json: bool) -> None:
    from proxy.cap_files import caps_beside, forget_in_files
    from proxy.exposure.erasure import erase_lines, erase_records
    from proxy.exposure.schema import NoExposuresError, file_beside, open_for_writing, signed

    path = file_beside(settings.state, Path.cwd())
    if not path.exists():
        raise NoExposuresError(f"{path}: there is no such file; nothing was ever recorded")
    database = open_for_writing(path)
    try:
        records = erase_records(database, signed(unit))
    finally:
        database.close()
    lines = 0
    if settings.exposure.jsonl is not None:
        lines = erase_lines(Path.cwd() / settings.exposure.jsonl.path, signed(unit))
    problems = forget_in_files(Path.cwd() / caps_beside(settings.state), unit)
    if as_json:
        print_json({"unit": f"{unit:016x}", "erased": records, "lines": lines})
    else:
        click.echo(f"{records} records and {lines} lines erased")
    if problems:
        _fail("; ".join(f"{problem} (the unit may still be in there)" for problem in problems))


def _hash_of(settings: Any, unit: str) -> int:
    """The hash of a unit, by the configured key or the one that was made and is kept in the state store."""
    from proxy.core.hashing import UnitHasher
    from proxy.exposure.schema import NoExposuresError

    path = Path.cwd() / settings.state.partition(":")[2]
    key = settings.secrets.unit_hash or _made_key(path)
    if not key:
        raise NoExposuresError(
            f"{path}: `secrets.unit_hash` is not configured, and the state store has no key: nothing was recorded yet"
        )
    return int(UnitHasher(key.encode())(unit.encode("utf-8", "surrogateescape")), 16)


def _made_key(path: Path) -> str:
    if not path.exists():
        return ""
    database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        row = database.execute("SELECT value FROM state WHERE key = 'secrets'").fetchone()
    finally:
        database.close()
    made: str = json.loads(row[0])["unit_hash"] if row else ""
    return made


def _read_hash(text: str) -> int:
    if len(text) != 16 or not set(text) <= set("0123456789abcdef"):
        raise click.UsageError("--unit-hash is 16 hex digits, as in x-tidegate-unit-hash")
    return int(text, 16)


def _since(text: str | None) -> float:
    from proxy.exposure.moments import BadMomentError, parse_since

    try:
        return 0.0 if text is None else parse_since(text, time.time())
    except BadMomentError as error:
        raise click.UsageError(f"--since {error}") from None


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def _fail(message: str) -> NoReturn:
    click.secho(message, fg="red", err=True)
    sys.exit(1)
