"""The spec of `plugins`: what a worker makes each of, and the bounds it has."""

from typing import Any

from proxy.settings.check_plugins import made_of
from proxy.settings.models.top import General
from proxy.settings.plugin_files import PluginFiles

Spec = dict[str, Any]


def plugins_spec(general: General, files: PluginFiles) -> list[Spec]:
    """The spec of checked settings. Seconds; counts."""
    return [
        {
            **made_of(one, files),
            "claims": list(one.claims),
            "budget": one.budget,
            "overruns": one.overruns,
            "timeout": one.timeout,
            "in_flight": one.in_flight,
        }
        for one in general.plugins
    ]
