"""Files of plugins: read once a load, bounded, and tried once for each text and configuration."""

from pathlib import Path

import pytest

from proxy.settings import plugin_files
from proxy.settings.loader import Loader
from proxy.settings.plugin_files import MAX_SOURCE, PluginFiles
from proxy.settings.problems import SettingsError

SOURCE = "from proxy.plugin import Plugin\nclass P(Plugin):\n    def unit(self, request):\n        return None\n"
CONFIG = """
listen: 127.0.0.1:8080
plugins: [{name: p, file: p.py}]
upstreams: {u: {endpoints: [http://127.0.0.1:1]}}
routes: [{name: r, versions: {a: {upstream: u}}, plugins: [p]}]
"""


def test_a_file_is_read_once_a_load_and_watched_whether_it_is_there_or_not(tmp_path: Path) -> None:
    files = PluginFiles(tmp_path)
    with pytest.raises(ValueError, match="there is no file"):
        files.source("p.py")
    (tmp_path / "p.py").write_text("one")
    assert files.source("p.py") == "one"
    (tmp_path / "p.py").write_text("two")
    assert files.source("p.py") == "one"
    assert list(files.files) == [tmp_path / "p.py"]
    files.begin()
    assert (files.source("p.py"), files.path("p.py")) == ("two", str(tmp_path / "p.py"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"#" * (MAX_SOURCE + 1), "is longer than 1 MiB"),
        (b"\xff", "is not UTF-8 text"),
        (None, "cannot be read: Is a directory"),
    ],
)
def test_a_file_that_cannot_be_a_plugin_is_told(tmp_path: Path, data: bytes | None, said: str) -> None:
    if data is None:
        (tmp_path / "p.py").mkdir()
    else:
        (tmp_path / "p.py").write_bytes(data)
    with pytest.raises(ValueError, match=said):
        PluginFiles(tmp_path).source("p.py")


def test_what_was_tried_and_is_right_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def note(specs: list[dict[str, str]], environ: dict[str, str]) -> list[tuple[str, int]]:
        tried.extend(one["source"] for one in specs)
        return [("no", 2) if "wrong" in one["source"] else ("", 0) for one in specs]

    monkeypatch.setattr(plugin_files, "try_plugins", note)
    (tmp_path / "x.yaml").write_text(CONFIG)
    file = tmp_path / "p.py"
    loader = Loader(tmp_path / "x.yaml", {})
    file.write_text("right")
    for _ in range(3):
        assert loader.load().spec["plugins"][0]["source"] == "right"
    assert tried == ["right"]
    file.write_text("wrong")
    for _ in range(2):
        with pytest.raises(SettingsError) as caught:
            loader.load()
        assert caught.value.problems[0].message == f"{file}:2: no"
    assert tried == ["right", "wrong", "wrong"], "it may be right the next time: a package was not installed, say"
    assert file in loader.files


def test_the_text_that_was_checked_is_in_the_spec(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(CONFIG)
    (tmp_path / "p.py").write_text(SOURCE)
    (spec,) = Loader(tmp_path / "x.yaml", {}).load().spec["plugins"]
    assert spec == {
        "name": "p", "file": str(tmp_path / "p.py"), "source": SOURCE, "entry_point": "", "config": {}, "claims": [],
        "budget": 0.005, "overruns": 10, "timeout": 0.05, "in_flight": 1024,
    }  # fmt: skip
