"""Segments on the admin port: what they are, and how their lists of units are."""

from typing import Any, Final

from aiohttp import web

from proxy.settings.list_changes import lists_in
from proxy.surfaces.admin.state import State

SEGMENTS: Final = "/api/v1/segments"

Spec = dict[str, Any]


class SegmentPaths:
    """The path /api/v1/segments."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def all(self, _request: web.Request) -> web.Response:
        """Every segment of the plan in force, and every list."""
        state = self._state
        return web.json_response(
            {
                "generation": state.facts.generation,
                "segments": [
                    {"name": one["name"], "where": one["where"], "lists": sorted(lists_in(one["where"]))}
                    for one in state.spec.get("segments", ())
                ],
                "lists": [
                    {
                        "name": name,
                        "file": facts.file,
                        "units": facts.units,
                        "taken": facts.taken_at,
                        "modified": facts.modified,
                        "current": not facts.problem,
                        "problem": facts.problem,
                        "skipped": facts.skipped,
                    }
                    for name, facts in state.facts.lists.items()
                ],
            }
        )
