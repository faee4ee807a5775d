"""What the workers are told: each thing goes to those that run, and once more to each that comes later."""

from typing import Any, Final

from proxy.control.link import Link, Marks
from proxy.control.places import Places, links
from proxy.control.publish import Publication


class Briefing:
    """The newest of everything that a worker must know."""

    def __init__(self, places: Places) -> None:
        """`places` are the supervisor's."""
        self.places: Final = places
        self.shared: tuple[int, list[int]] = (0, [])
        """Among how many workers the limits are divided, and the numbers of those that count."""
        self._published: Publication | None = None
        self._kept = b""
        self._lists = b""
        self._token_keys = b""
        self._marks: Final[dict[str, Marks]] = {}
        self._faults_killed = False

    def tell(self, link: Link) -> None:
        """Tell a worker that has just come all of it."""
        if self._kept:
            link.keep(self._kept)
        link.share(*self.shared)
        link.kill_faults(self._faults_killed)
        if self._lists:
            link.lend(self._lists)
        if self._token_keys:
            link.give_keys(self._token_keys)
        for upstream, marks in self._marks.items():
            link.mark(upstream, marks)
        if self._published is not None:
            link.publish(self._published)

    def prepare(self, publication: Publication) -> None:
        """Have workers that come later start with this; those that run were told otherwise (`send_endpoints`)."""
        self._published = publication

    def publish(self, publication: Publication) -> None:
        """Bring all workers to this plan, and those that come later too."""
        self._published = publication
        for link in links(self.places):
            link.publish(publication)

    def keep(self, legacy: bytes) -> None:
        """Have all workers keep this for a control process that takes over."""
        self._kept = legacy
        for link in links(self.places):
            link.keep(legacy)

    def lend(self, lists: bytes) -> None:
        """Give all workers, and those that come later, these lists of units (messages.UNITS)."""
        self._lists = lists
        for link in links(self.places):
            link.lend(lists)

    def give_keys(self, keys: bytes) -> None:
        """Give all workers, and those that come later, these keys of tokens (messages.KEYS)."""
        self._token_keys = keys
        for link in links(self.places):
            link.give_keys(keys)

    def send_endpoints(self, upstream: str, endpoints: list[dict[str, Any]]) -> None:
        """Replace one upstream's endpoints in all workers that run."""
        for link in links(self.places):
            link.send_endpoints(upstream, endpoints)

    def mark(self, upstream: str, unhealthy: list[str], drained: list[str]) -> None:
        """Tell all workers, and those that come later, which endpoints of `upstream` are unhealthy and drained, by key."""
        marks = (unhealthy, drained)
        if unhealthy or drained:
            self._marks[upstream] = marks
        else:
            self._marks.pop(upstream, None)
        for link in links(self.places):
            link.mark(upstream, marks)

    def kill_faults(self, killed: bool) -> None:
        """Tell all workers, and those that come later, whether faults are switched off."""
        self._faults_killed = killed
        for link in links(self.places):
            link.kill_faults(killed)

    def forget(self, unit: str) -> None:
        """Tell all workers that run that a unit (its hash) was erased from the exposures."""
        for link in links(self.places):
            link.forget(unit)

    def share(self, workers: int, living: list[int]) -> None:
        """Tell all workers among how many the limits are divided, and which numbers count."""
        self.shared = (workers, living)
        for link in links(self.places):
            link.share(workers, living)
