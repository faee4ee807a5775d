"""What the admin port needs to know of the control process, and no more.

control/ must not import surfaces/, yet has to start this server. So `tidegate run` (surfaces/cli/run.py) hands
`serve.start_admin` to control/app.py as a factory, and control calls it with something of this shape.
"""

from typing import Any, Protocol

from proxy.control.endpoints import Endpoints
from proxy.control.exposures import Exposures
from proxy.control.kill_switch import KillSwitch
from proxy.control.rollouts.desk import RolloutDesk
from proxy.control.rollouts.evidence import Evidences
from proxy.control.unit_lists import UnitLists
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts
from proxy.telemetry.totals import Totals


class State(Protocol):
    """The control process as the admin port sees it. Read on every request; nothing is kept."""

    @property
    def facts(self) -> Facts:
        """Generation, weights, workers, and what is wrong with the file."""

    @property
    def exposition(self) -> Exposition:
        """Renders /metrics."""

    @property
    def totals(self) -> Totals:
        """Sums by version and endpoint."""

    @property
    def endpoints(self) -> Endpoints:
        """Which endpoints are healthy, and which are drained; drains them."""

    @property
    def faults(self) -> KillSwitch:
        """The switch that ends all faults."""

    @property
    def evidence(self) -> Evidences:
        """What units of rollouts did."""

    @property
    def exposures(self) -> Exposures:
        """Who got which version, and why."""

    @property
    def rollouts(self) -> RolloutDesk:
        """Where people ask of rollouts, and set weights by hand."""

    @property
    def lists(self) -> UnitLists:
        """The lists of units."""

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the plan in force, secrets and all; they are removed before it is shown."""

    @property
    def file(self) -> str:
        """Path of the configuration file as it was given."""

    @property
    def warnings(self) -> list[str]:
        """What is doubtful in the configuration in force, one line each."""

    def not_ready(self) -> list[str]:
        """Why no traffic should be sent here, one line each: draining, no worker serves a plan. Empty: it is ready."""
