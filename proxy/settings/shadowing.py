"""Routes that can never be reached, because one above takes everything they would."""

import json
from typing import Final

from proxy.settings.models.route import Match, Route


class Shadowing:
    """Takes the routes in the order of the file. Finds what shows at a glance: equal tests, included hosts."""

    def __init__(self) -> None:
        self._everywhere: Final[dict[str, str]] = {}
        self._hosts: Final[dict[str, dict[str, str]]] = {}

    def add(self, route: Route) -> str | None:
        """The name of the route above that takes all of this one's requests; None when there is none."""
        tests = _tests(route.match, raw=route.paths == "raw")
        for known in dict.fromkeys((tests, _EVERYTHING, _EVERYTHING_RAW)):
            # A route with normal paths does not take what one with raw paths does.
            if known == _EVERYTHING and route.paths == "raw":
                continue
            if known in self._everywhere:
                return self._everywhere[known]
            taken = self._hosts.get(known, {})
            if route.match.host and all(host in taken for host in route.match.host):
                return taken[route.match.host[0]]
        if route.match.host:
            self._hosts.setdefault(tests, {}).update(dict.fromkeys(route.match.host, route.name))
        else:
            self._everywhere[tests] = route.name
        return None


def _tests(match: Match, *, raw: bool) -> str:
    prefix = (match.path_prefix or "").rstrip("/")
    fields = [
        sorted((name, str(test.given())) for name, test in group.items())
        for group in (match.headers, match.query, match.cookies)
    ]
    return json.dumps(
        [raw, match.path, prefix, match.path_regex, sorted(match.methods), fields, sorted(match.client_ip)]
    )


_EVERYTHING: Final = _tests(Match(), raw=False)
_EVERYTHING_RAW: Final = _tests(Match(), raw=True)
