"""A scrape as numbers that can be asked for by name and labels."""

from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples: list[tuple[str, dict[str, str], float]] = [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples of `name` that carry `labels`; 0 when there are none."""
        wanted = labels.items()
        return sum(value for sample, found, value in self.samples if sample == name and wanted <= found.items())

    def by(self, name: str, label: str, **labels: str) -> dict[str, float]:
        """The samples of `name` that carry `labels`, summed for each value of `label`; zeros left out."""
        wanted = labels.items()
        sums: dict[str, float] = {}
        for sample, found, value in self.samples:
            if sample == name and wanted <= found.items() and value:
                sums[found[label]] = sums.get(found[label], 0.0) + value
        return sums

    def counters(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Everything that must never go back: counters, and the counts and buckets of histograms."""
        endings = ("_total", "_count", "_bucket", "_sum")
        return {
            (name, frozenset(labels.items())): value for name, labels, value in self.samples if name.endswith(endings)
        }
