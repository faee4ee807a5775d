"""What is different between the lists of units of two configurations: how many units enter each, and how many leave."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from proxy.settings.unit_files import UnitFile

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ListChange:
    """One list. `was` is the name of the one in whose place it comes; empty where there was none, and `name` where none
    comes. `entering` and `leaving` are units."""

    name: str
    was: str
    units: int
    entering: int
    leaving: int

    def line(self) -> str:
        """For people."""
        if not self.was:
            return f"list {self.name} added: {_many(self.units)}"
        if not self.name:
            return f"list {self.was} removed: {_many(self.leaving)}"
        instead = "" if self.name == self.was else f" instead of {self.was}"
        enter = f"{_many(self.entering)} enter{'s' if self.entering == 1 else ''}"
        return f"list {self.name}{instead}: {enter}, {self.leaving} leave{'s' if self.leaving == 1 else ''}"

    def as_dict(self) -> Spec:
        """For JSON."""
        return asdict(self)


def compare_lists(
    old: Spec, new: Spec, old_lists: Mapping[str, UnitFile], new_lists: Mapping[str, UnitFile]
) -> Iterator[ListChange]:
    """What changes, by the specs and the lists of both. A list of the same name is the same list; so is another one in a
    segment that is about nothing else."""
    pairs = [(name, name) for name in old_lists if name in new_lists]
    before, after = _alone(old), _alone(new)
    pairs += [
        (name, after[segment])
        for segment, name in before.items()
        if segment in after and name not in new_lists and after[segment] not in old_lists
    ]
    for was, name in dict.fromkeys(pairs):
        one, other = old_lists[was], new_lists[name]
        if one.digest == other.digest and was == name:
            continue
        entering = other.table().absent_from(one.table())
        leaving = one.units - (other.units - entering)
        if entering or leaving or was != name:
            yield ListChange(name, was, other.units, entering, leaving)
    for name, one in old_lists.items():
        if name not in {was for was, _ in pairs}:
            yield ListChange("", name, 0, 0, one.units)
    for name, one in new_lists.items():
        if name not in {other for _, other in pairs}:
            yield ListChange(name, "", one.units, one.units, 0)


def _alone(spec: Spec) -> dict[str, str]:
    """The lists of segments that are one list and nothing else, by segment."""
    return {one["name"]: one["where"]["value"] for one in spec["segments"] if one["where"].get("test") == "listed"}


def _many(count: int) -> str:
    return f"{count} unit{'' if count == 1 else 's'}"


def lists_in(where: Spec) -> set[str]:
    """The lists that a matcher names itself, not by way of segments."""
    if where.get("test") == "listed":
        return {where["value"]}
    parts = [*where.get("all", ()), *where.get("any", ()), *([where["not"]] if "not" in where else ())]
    return set().union(*(lists_in(one) for one in parts))
