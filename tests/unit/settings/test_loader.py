"""Several files as one, what is parsed again, and what is watched."""

from pathlib import Path

import pytest

from proxy.settings import Loader, SettingsError, load

MAIN = """\
listen: 0.0.0.0:8080
include: [upstreams/*.yaml, routes/*.yaml]
"""
UPSTREAM = "upstreams: {%s: {endpoints: [http://127.0.0.1:9001]}}\n"
ROUTE = "routes: [{name: %s, match: {path: /%s}, versions: {v: {upstream: a}}}]\n"


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "upstreams").mkdir()
    (tmp_path / "routes").mkdir()
    (tmp_path / "main.yaml").write_text(MAIN)
    (tmp_path / "upstreams/a.yaml").write_text(UPSTREAM % "a")
    for name in "zxy":
        (tmp_path / f"routes/{name}.yaml").write_text(ROUTE % (name, name))
    return tmp_path / "main.yaml"


def lines(error: SettingsError, directory: Path) -> list[str]:
    return [problem.line().replace(f"{directory}/", "") for problem in error.problems]


def failure(main: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(main, {})
    return lines(caught.value, main.parent)


def test_included_lists_follow_in_the_order_of_the_files_names(main: Path) -> None:
    main.write_text(MAIN + "routes: [{name: first, match: {path: /first}, versions: {v: {upstream: a}}}]\n")
    assert [route["name"] for route in load(main, {}).spec["routes"]] == ["first", "x", "y", "z"]


def test_maps_are_joined(main: Path) -> None:
    (main.parent / "upstreams/b.yaml").write_text(UPSTREAM % "b" + "client: {timeouts: {head: 1s}}\n")
    main.write_text(MAIN + "client: {limits: {fields: 5}}\n")
    loaded = load(main, {})
    assert [upstream["name"] for upstream in loaded.spec["upstreams"]] == ["a", "b"]
    assert loaded.spec["client"]["timeouts"]["head"] == 1
    assert loaded.spec["client"]["limits"]["fields"] == 5


def test_a_name_given_in_two_files_names_both_places(main: Path) -> None:
    (main.parent / "upstreams/b.yaml").write_text("\n" + UPSTREAM % "a" + "listen: 0.0.0.0:81\n")
    (main.parent / "routes/zz.yaml").write_text(ROUTE % ("z", "other"))
    assert failure(main) == [
        "upstreams/b.yaml:2:13: upstreams.a: is given twice; first at upstreams/a.yaml:1:13",
        "upstreams/b.yaml:3:1: listen: is given twice; first at main.yaml:1:1",
        "routes/zz.yaml:1:17: routes[3].name: `z` is the name of another route, at routes/z.yaml:1:17",
    ]


def test_mistakes_in_included_files_stand_where_they_are(main: Path) -> None:
    (main.parent / "routes/y.yaml").write_text("routes:\n  - name: y\n    versions: {v: {upstream: b}}\n")
    assert failure(main) == [
        "routes/y.yaml:3:30: routes[1].versions.v.upstream: there is no upstream `b`; upstreams: `a`"
    ]


def test_a_file_included_twice_is_an_error(main: Path) -> None:
    main.write_text("listen: 0.0.0.0:8080\ninclude:\n  - upstreams/*.yaml\n  - routes/*.yaml\n  - routes/x.yaml\n")
    assert failure(main) == [
        f"main.yaml:5:5: include: {main.parent}/routes/x.yaml is included twice".replace(f"{main.parent}/", "")
    ]


def test_files_that_include_each_other_are_an_error(main: Path) -> None:
    (main.parent / "routes/x.yaml").write_text(ROUTE % ("x", "x") + "include: ../main.yaml\n")
    assert failure(main) == ["routes/x.yaml:2:10: include: `../main.yaml` leads back to a file that includes it"]


def test_a_pattern_may_find_nothing_but_a_name_must(main: Path) -> None:
    main.write_text("listen: 0.0.0.0:8080\ninclude: [upstreams/*.yaml, routes/*.yaml, more/*.yaml]\n")
    assert len(load(main, {}).spec["routes"]) == 3
    main.write_text("listen: 0.0.0.0:8080\ninclude: [upstreams/*.yaml, routes/*.yaml, more.yaml]\n")
    assert failure(main) == ["main.yaml:2:44: include: more.yaml: there is no such file"]


def test_only_changed_files_are_parsed_again(main: Path) -> None:
    loader = Loader(main, {})
    loader.load()
    assert loader.parsed == 5
    loader.load()
    assert loader.parsed == 5
    (main.parent / "routes/y.yaml").write_text(ROUTE % ("y", "changed"))
    spec = loader.load().spec
    assert loader.parsed == 6
    assert [route["path"] for route in spec["routes"]] == ["/x", "/changed", "/z"]


def test_a_loaded_file_does_not_change_the_next_load(main: Path) -> None:
    loader = Loader(main, {})
    assert loader.load().spec == loader.load().spec


def test_files_and_directories_to_watch(main: Path) -> None:
    loaded = load(main, {})
    here = main.parent
    assert loaded.files == [main, here / "upstreams/a.yaml", *(here / f"routes/{name}.yaml" for name in "xyz")]
    assert loaded.directories == [here, here / "upstreams", here / "routes"]


def test_what_to_watch_is_known_after_a_failure_too(main: Path) -> None:
    loader = Loader(main, {})
    (main.parent / "routes/y.yaml").write_text("routes: [\n")
    with pytest.raises(SettingsError):
        loader.load()
    assert main.parent / "routes/y.yaml" in loader.files
    (main.parent / "routes/y.yaml").write_text(ROUTE % ("y", "y"))
    assert len(loader.load().spec["routes"]) == 3


def test_a_broken_file_does_not_hide_mistakes_in_the_others_syntax(main: Path) -> None:
    (main.parent / "routes/x.yaml").write_text("routes: [\n")
    (main.parent / "routes/y.yaml").write_text("")
    assert failure(main) == [
        "routes/x.yaml:2:1: not valid YAML: did not find expected node content",
        "routes/y.yaml:1:1: the file is empty",
    ]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda path: path.unlink(), "there is no such file"),
        (lambda path: (path.unlink(), path.mkdir()), "is a directory, not a file"),
        (lambda path: path.write_text(""), "the file is empty"),
        (lambda path: path.write_text("\n# gone\n---\n"), "the file is empty"),
    ],
)
def test_a_file_that_is_gone_replaced_or_emptied(main: Path, prepare: object, message: str) -> None:
    prepare(main)  # type: ignore[operator]
    assert failure(main) == [f"main.yaml:1:1: {message}"]


def test_the_settings_hold_what_control_needs(main: Path) -> None:
    main.write_text(MAIN + "workers: auto\nadmin: 127.0.0.1:1\nmetrics: 0.0.0.0:2\naccess_log: stdout\nwatch: poll\n")
    settings = load(main, {}).settings
    assert settings.admin.address == "127.0.0.1:1"
    assert settings.metrics == "0.0.0.0:2"
    assert settings.worker_count >= 1
    assert (settings.access_log, settings.watch, settings.state) == ("stdout", "poll", None)
    assert (settings.drain.delay, settings.drain.limit) == (2.0, 7.0)
    assert list(settings.upstreams) == ["a"]
    assert [route.name for route in settings.routes] == ["x", "y", "z"]


def test_problems_as_values_hold_no_text_of_the_file(main: Path) -> None:
    main.write_text(MAIN + "secrets: {cookie: [hunter2]}\n")
    with pytest.raises(SettingsError) as caught:
        load(main, {})
    (problem,) = caught.value.problems
    assert "hunter2" not in str(problem.as_dict())
    assert problem.as_dict() | {"file": ""} == {
        "severity": "error",
        "file": "",
        "line": 3,
        "column": 20,
        "path": "secrets.cookie[0]",
        "message": "must be 16 to 4096 characters long; this one has 7",
    }


def test_a_fault_that_is_over_is_told_as_soon_as_it_is(main: Path) -> None:
    fault = "{reset: true, percent: 1, until: 1970-01-01T00:01:40Z}"
    main.write_text(
        "listen: 0.0.0.0:80\n"
        + UPSTREAM % "a"
        + f"routes: [{{name: r, versions: {{v: {{upstream: a}}}}, faults: [{fault}]}}]\n"
    )
    now = 99.0
    loader = Loader(main, {}, lambda: now)
    assert loader.load().warnings == []
    now = 100.0
    (warning,) = loader.load().warnings
    assert "is over since 1970-01-01T00:01:40Z" in warning.message
