"""What the demo shows, read from the proxy's own /metrics as any monitoring would."""

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families


@dataclass(slots=True)
class Arm:
    """One version so far. `edges` are the histogram's cumulative counts by upper bound in seconds."""

    weight: float = 0.0
    requests: float = 0.0
    errors: float = 0.0
    edges: list[tuple[float, float]] = field(default_factory=list)

    def quantile(self, share: float) -> float | None:
        """Seconds below which `share` of the requests stayed, interpolated within the bucket; None without requests."""
        edges = sorted(self.edges)
        if not edges or not edges[-1][1]:
            return None
        wanted = share * edges[-1][1]
        below, low = 0.0, 0.0
        for bound, count in edges:
            if count >= wanted:
                if bound == float("inf"):
                    return low
                return low + (bound - low) * (wanted - below) / (count - below)
            below, low = count, bound
        return low


@dataclass(slots=True)
class Measures:
    """One scrape: the versions of the route, and what became of the copies by outcome."""

    arms: dict[str, Arm] = field(default_factory=dict)
    copies: dict[str, float] = field(default_factory=dict)
    generation: int = 0


def read_measures(text: str, route: str) -> Measures:
    """The measures of `route` in a page of /metrics.

    Raises ValueError when the page is not in Prometheus' text format.
    """
    found = Measures()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "tidegate_config_generation":
                found.generation = int(sample.value)
            if labels.get("route") != route:
                continue
            if sample.name == "tidegate_mirror_total":
                found.copies[labels["outcome"]] = found.copies.get(labels["outcome"], 0) + sample.value
            if "version" not in labels:
                continue
            arm = found.arms.setdefault(labels["version"], Arm())
            if sample.name == "tidegate_weight_percent" and labels["source"] == "effective":
                arm.weight = sample.value
            elif sample.name == "tidegate_requests_total":
                arm.requests += sample.value
            elif sample.name == "tidegate_errors_total":
                arm.errors += sample.value
            elif sample.name == "tidegate_request_duration_seconds_bucket":
                arm.edges.append((float(labels["le"]), sample.value))
    return found
