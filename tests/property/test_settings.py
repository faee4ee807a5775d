"""Laws of the settings: what is written is read back, and merging is order and nothing else."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.settings import SettingsError, load
from proxy.settings.scalars import format_duration, format_size, parse_duration, parse_size
from proxy.settings.source import parse_document

NAMES = st.text(st.sampled_from("abcdefgh"), min_size=1, max_size=3)
TEXTS = st.text("ab1.: -#'\"[]{},&*!|>%@`é\n", max_size=8)
SCALARS = st.one_of(st.booleans(), st.none(), st.integers(-(10**12), 10**12), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.integers(0, 3_600_000_000))
def test_a_duration_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == seconds


@settings(deadline=None)
@given(st.integers(0, 1 << 39))
def test_a_size_is_read_back(size: int) -> None:
    assert parse_size(format_size(size)) == size


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_what_yaml_writes_is_read_back(values: dict[str, object]) -> None:
    document = parse_document("x.yaml", yaml.safe_dump(values, allow_unicode=True).encode(), {})
    if values:
        assert document.problems == []
        assert document.values == values


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_give_values_or_problems(data: bytes) -> None:
    document = parse_document("x.yaml", data, {})
    assert document.problems or document.root is not None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(NAMES, max_size=3), max_size=4))
def test_merged_routes_are_all_the_files_routes_in_order_or_an_error_names_the_double(files: list[list[str]]) -> None:
    with TemporaryDirectory() as directory:
        main = Path(directory) / "main.yaml"
        main.write_text(
            "listen: 0.0.0.0:80\ninclude: ['r*.yaml']\nupstreams: {a: {endpoints: [http://127.0.0.1:1]}}\n"
            "routes: [{name: first, match: {path: /}, versions: {v: {upstream: a}}}]\n"
        )
        for index, names in enumerate(files):
            routes = [
                {"name": name, "match": {"path": f"/{index}/{place}"}, "versions": {"v": {"upstream": "a"}}}
                for place, name in enumerate(names)
            ]
            (main.parent / f"r{index}.yaml").write_text(yaml.safe_dump({"routes": routes}))
        together = ["first", *(name for names in files for name in names)]
        doubles = len(together) - len(set(together))
        if doubles:
            with pytest.raises(SettingsError) as caught:
                load(main, {})
            assert len(caught.value.problems) == doubles
            assert all("is the name of another route, at " in problem.message for problem in caught.value.problems)
        else:
            assert [route["name"] for route in load(main, {}).spec["routes"]] == together
