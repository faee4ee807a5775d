"""Weights that somebody sets by hand, filled up to a whole split."""

from collections.abc import Mapping

from proxy.errors import TidegateError


class BadWeightsError(TidegateError):
    """These weights cannot be set; the message says why and what would do."""


def fill_up(given: Mapping[str, float], file: Mapping[str, float], default: str) -> dict[str, float]:
    """The weights of all versions when somebody sets those of some.

    `given` are on the file's scale: the sum of the file's weights stays as it is, and the versions that are not named share
    what is left in proportion to their weights in the file; where those are all 0, the `default` version gets it. Where every
    version is named, any scale will do. Raises BadWeightsError.
    """
    unknown = sorted(given.keys() - file.keys())
    if unknown:
        raise BadWeightsError(f"the route has no version {', '.join(unknown)}; it has {', '.join(file)}")
    if not given:
        raise BadWeightsError("no weight is given; give one of at least one version")
    if not sum(given.values()) and len(given) == len(file):
        raise BadWeightsError("all weights are 0; one version has to have some")
    others = {name: weight for name, weight in file.items() if name not in given}
    if not others:
        return {name: given[name] for name in file}
    whole = sum(file.values())
    if not whole:
        raise BadWeightsError(f"the file's weights are all 0: give those of all versions, {', '.join(file)}")
    left = whole - sum(given.values())
    if left < 0:
        raise BadWeightsError(
            f"the file's weights add up to {whole:g}, and these to {sum(given.values()):g}: give less, or those of all"
            f" versions, {', '.join(file)}"
        )
    base = sum(others.values())
    if base:
        rest = {name: left * weight / base for name, weight in others.items()}
    else:
        heir = default if default in others else next(iter(others))
        rest = {name: left if name == heir else 0.0 for name in others}
    return {name: float(given[name]) if name in given else rest[name] for name in file}
