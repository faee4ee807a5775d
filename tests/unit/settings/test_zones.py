"""Time zones become tables, the same on every day, and new when the system's data is."""

import zoneinfo
from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError

from proxy.settings import zones
from proxy.settings.zones import FIRST, LAST, offsets_of, parse_zone


def test_zone_that_sets_its_clocks_has_two_lines_a_year() -> None:
    table = offsets_of("Europe/Oslo")
    assert table[:3] == [[1735689600, 3600], [1743296400, 7200], [1761440400, 3600]]
    assert len(table) == 1 + 2 * (LAST - FIRST + 1)
    assert table == sorted(table)


def test_zone_that_does_not_has_one_line() -> None:
    assert offsets_of("UTC") == [[1735689600, 0]]
    assert offsets_of("Asia/Kolkata") == [[1735689600, 19800]]


@pytest.mark.parametrize("name", ["Europe/Olso", "/etc/passwd", "../UTC", "", "Europe"])
def test_what_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(PydanticCustomError, match="there is no time zone"):
        parse_zone(name)


def test_a_system_without_zones_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", nothing)
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    with pytest.raises(PydanticCustomError, match="install `tzdata`"):
        parse_zone("Europe/Oslo")


def test_new_rules_of_the_system_make_a_new_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    oslo = tmp_path / "Test/City"
    oslo.parent.mkdir()
    old_path = zoneinfo.TZPATH
    source = next(Path(one) for one in old_path if Path(one, "Europe/Oslo").exists())
    oslo.write_bytes((source / "Asia/Kolkata").read_bytes())
    monkeypatch.setattr(zones.zoneinfo, "TZPATH", (str(tmp_path),))
    zoneinfo.reset_tzpath(to=[str(tmp_path)])
    try:
        assert len(offsets_of("Test/City")) == 1
        oslo.write_bytes((source / "Europe/Oslo").read_bytes())
        monkeypatch.setattr(zones, "_stamp", lambda _zone: 2)  # whatever the clock of the file system resolves
        assert len(offsets_of("Test/City")) > 1
    finally:
        zoneinfo.reset_tzpath(to=[one for one in old_path if one.startswith("/")])
