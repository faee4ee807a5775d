import pytest

from proxy.core.semver import SemverRange, precedence


def test_precedence_is_that_of_section_11() -> None:
    rising = [
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "1.2.0",
        "1.10.0",
        "2.0.0",
    ]
    keys = [precedence(version) for version in rising]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("one", "other"), [("1.2.3+a", "1.2.3+b.7"), ("v1.2.3", "1.2.3"), ("1.2", "1.2.0"), ("1", "1.0.0")]
)
def test_spellings_of_one_version_are_equal(one: str, other: str) -> None:
    assert precedence(one) == precedence(other) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "01.2.3",
        "1.02.3",
        "1.2.3-",
        "1.2.3-01",
        "1.2.3-a..b",
        "1.2.3.4",
        "1.2.3 ",
        "-1.2.3",
        "1.2-rc",
        "1.2.3+",
        "1.٣.0",
    ],
)
def test_what_is_no_version_has_no_precedence(text: str) -> None:
    assert precedence(text) is None


def test_endless_numbers_are_no_version() -> None:
    assert precedence("1." + "9" * 5000) is None
    assert precedence("1.0.0-" + "9" * 5000) is None


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (">=1.2.0 <2.0.0", ["1.2.0", "1.9.9", "2.0.0-rc.1"], ["1.1.9", "2.0.0", "1.2.0-rc.1"]),
        ("^1.2", ["1.2.0", "1.9.0"], ["1.1.9", "2.0.0", "2.0.0-rc.1"]),
        ("^0.2.3", ["0.2.3", "0.2.9"], ["0.3.0", "0.2.2"]),
        ("^0.0.3", ["0.0.3"], ["0.0.4", "0.0.4-a", "0.0.2"]),
        ("^0.0", ["0.0.0", "0.0.9"], ["0.1.0"]),
        ("^0", ["0.0.0", "0.9.0"], ["1.0.0"]),
        ("^1.2.3-beta.2", ["1.2.3-beta.2", "1.2.3", "1.3.0"], ["1.2.3-beta.1", "2.0.0"]),
        ("~1.2.3", ["1.2.3", "1.2.9"], ["1.3.0", "1.3.0-a", "1.2.2"]),
        ("~1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("~1", ["1.0.0", "1.9.0"], ["2.0.0"]),
        ("1.x", ["1.0.0", "1.9.9"], ["2.0.0", "0.9.9", "2.0.0-rc.1"]),
        ("1.2.*", ["1.2.0", "1.2.9"], ["1.3.0", "1.1.9"]),
        ("1.2", ["1.2.0", "1.2.9"], ["1.3.0"]),
        ("*", ["0.0.0", "99.0.0"], ["x"]),
        ("=1.2.3", ["1.2.3", "1.2.3+build"], ["1.2.4"]),
        ("1.2.3", ["1.2.3"], ["1.2.3-a"]),
        (">1.2.3", ["1.2.4"], ["1.2.3"]),
        (">1.2", ["1.3.0"], ["1.2.9", "1.3.0-a"]),
        ("<=1.2.3", ["1.2.3", "1.0.0"], ["1.2.4"]),
        ("<=1.2", ["1.2.9"], ["1.3.0", "1.3.0-a"]),
        ("<1.2", ["1.1.9"], ["1.2.0"]),
        (">= 1.2.0  < 1.3", ["1.2.5"], ["1.3.0"]),
        ("<1.0.0 || >=2.0.0", ["0.1.0", "2.0.0"], ["1.5.0"]),
        ("1.2.3||2.x", ["1.2.3", "2.5.0"], ["1.2.4"]),
    ],
)
def test_ranges(text: str, inside: list[str], outside: list[str]) -> None:
    versions = SemverRange(text)
    assert [version for version in inside if not versions.contains(version)] == []
    assert [version for version in outside if versions.contains(version)] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1.2.3 ||",
        "latest",
        ">=",
        ">>1",
        "1.2.3.4",
        "<*",
        ">x",
        "1.x.3",
        "1.2.x-rc",
        "1.2.3-01",
        "1.2.3,2",
        "1 - 2",
        ">=1 " * 99,
    ],
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"range of versions|leading zeros|follow an x|above or below"):
        SemverRange(text)
