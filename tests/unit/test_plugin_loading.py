"""The class out of a file or an entry point, and what is said of one that cannot be used."""

import sys
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from proxy import plugin_loading
from proxy.form import search_path
from proxy.plugin import Plugin
from proxy.plugin_check import try_plugins
from proxy.plugin_loading import PluginError, hooks_of, make_plugin

Spec = dict[str, Any]

GOOD = """
from dataclasses import dataclass
from proxy.plugin import Plugin, PluginRequest

@dataclass
class Row:
    name: str

class Base(Plugin):
    async def on_request(self, request: PluginRequest) -> None:
        return None

class Tenant(Base):
    def unit(self, request: PluginRequest) -> str:
        return self.config["unit"]
"""


class Installed(Plugin):
    """What the tests take for a class in a package."""

    def decide(self, request: Any, proposed: Any) -> None:
        return None


def spec(source: str = "", entry_point: str = "", **config: Any) -> Spec:
    file = "" if entry_point else "plugins/tenant.py"
    return {"name": "tenant", "file": file, "source": source, "entry_point": entry_point, "config": config}


def test_the_class_of_a_file_is_made_with_its_configuration() -> None:
    made = make_plugin(spec(GOOD, unit="acme"))
    assert made.config == {"unit": "acme"}
    assert hooks_of(made) == {"unit": False, "on_request": True}


@pytest.mark.parametrize(
    ("source", "said", "line"),
    [
        ("def f(:\n", "cannot be loaded: SyntaxError: invalid syntax", 1),
        ("import os\n\nimport nowhere\n", "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'", 3),
        ("raise SystemExit", "cannot be loaded: SystemExit", 1),
        ("x = 1", "has no class that stands on proxy.plugin.Plugin", 0),
        ("from proxy.plugin import Plugin", "has no class that stands on proxy.plugin.Plugin", 0),
        (GOOD + "class Other(Plugin):\n    pass", "has several plugins, give each a file: Tenant, Other", 0),
        ("from proxy.plugin import Plugin\nclass A(Plugin):\n    pass", "A has none of the hooks unit, decide,", 0),
        (
            "from proxy.plugin import Plugin\nclass A(Plugin):\n def __init__(self, config):\n  raise ValueError('no key')",
            "A cannot be made: ValueError: no key",
            4,
        ),
        (
            "from proxy.plugin import Plugin\nclass A(Plugin):\n def __init__(self):\n  pass\n def unit(self, request): ...",
            "A must take the configuration: def __init__",
            0,
        ),
    ],
)
def test_what_cannot_be_used_is_told_with_its_line(source: str, said: str, line: int) -> None:
    with pytest.raises(PluginError) as caught:
        make_plugin(spec(source))
    assert str(caught.value).startswith(said)
    assert caught.value.line == line


def test_entry_points_are_classes_of_modules_or_announced_names(monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"{__name__}:Installed"
    assert type(make_plugin(spec(entry_point=place))) is Installed
    announced = EntryPoints([EntryPoint("mine", place, "tidegate.plugins")])
    monkeypatch.setattr(plugin_loading, "entry_points", announced.select)
    assert type(make_plugin(spec(entry_point="mine"))) is Installed
    with pytest.raises(PluginError, match=r"no installed package announces other in the group tidegate\.plugins"):
        make_plugin(spec(entry_point="other"))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("nowhere.at.all:Plugin", "cannot be loaded: ModuleNotFoundError"),
        ("proxy.plugin:Missing", "cannot be loaded: AttributeError"),
        ("proxy.plugin:Answer", "is no class that stands on"),
        ("proxy.plugin:__all__", "is no class that stands on"),
    ],
)
def test_entry_points_that_lead_nowhere_are_told(place: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        make_plugin(spec(entry_point=place))


def tried(*specs: Spec) -> list[tuple[str, int]]:
    return try_plugins(list(specs), {"PYTHONPATH": search_path({})})


def test_plugins_are_tried_in_a_process_of_their_own(capfd: Any) -> None:
    noisy = spec("print('hello')\n" + GOOD, unit="a")
    bad = spec("import nowhere\n")
    assert tried(noisy, bad) == [("", 0), ("cannot be loaded: ModuleNotFoundError: No module named 'nowhere'", 1)]
    assert "tidegate_plugin_tenant" not in sys.modules or "nowhere" not in sys.modules
    assert capfd.readouterr() == ("", "")


def test_a_plugin_that_ends_the_process_is_told() -> None:
    ((said, line),) = tried(spec("import os\nos._exit(3)\n"))
    assert said.startswith("cannot be imported: it, or a plugin beside it, ended the process with code 3")
    assert line == 0


def test_a_plugin_that_is_never_imported_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("proxy.plugin_check.PATIENCE", 0.5)
    ((said, _),) = tried(spec("import time\ntime.sleep(60)\n"))
    assert said == "takes longer than 0.5s to be imported"
