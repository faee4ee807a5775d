"""A configuration in the making: what the checks of its parts share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.models.matchers import Matcher
from proxy.settings.models.route import Route
from proxy.settings.models.top import General
from proxy.settings.models.upstream import Upstream
from proxy.settings.plugin_files import PluginFiles
from proxy.settings.problems import KeyPath, Place, Report
from proxy.settings.unit_files import UnitFiles


@dataclass(slots=True)
class Draft:
    """A configuration in the making: its valid parts (a route that is not is None), and where to report.

    `now` is the time, in seconds since 1970.
    `segment_order` and `flag_order` are filled by `check`: names in an order in which each needs only earlier ones; `lists`
    with the names of list files.
    """

    values: dict[str, Any]
    report: Report
    where: Callable[[KeyPath], Place]
    certificates: CertificateReader
    unit_files: UnitFiles
    plugin_files: PluginFiles
    now: float
    general: General | None = None
    upstreams: dict[str, Upstream] = field(default_factory=dict)
    segments: dict[str, Matcher] = field(default_factory=dict)
    routes: list[Route | None] = field(default_factory=list)
    segment_order: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    flag_order: list[str] = field(default_factory=list)

    def names(self, part: str) -> frozenset[str]:
        """The names a part defines, valid or not: a reference to one with mistakes is right."""
        given = self.values.get(part, {})
        return frozenset(given) if isinstance(given, dict) else frozenset()

    def listed(self, part: str) -> frozenset[str]:
        """The same of a part that is a list of maps with a `name`."""
        given = self.values.get(part, [])
        names = [one.get("name") for one in given if isinstance(one, dict)] if isinstance(given, list) else []
        return frozenset(name for name in names if isinstance(name, str))
