"""Weights as other systems can have them: shares exact as they are written, whole parts of a whole, whole numbers."""

from fractions import Fraction
from typing import Final

MOST_FLAGD: Final = 2**31 - 1
"""What the weights of a flagd flag may add up to."""


def shares(weights: list[float]) -> list[Fraction]:
    """Each weight's share of their sum, exactly as the weights are written in decimals. All 0 where the sum is."""
    exact = [Fraction(repr(weight)) for weight in weights]
    total = sum(exact, Fraction(0))
    return [weight / total for weight in exact] if total else exact


def cut(weights: list[float], parts: int) -> list[int]:
    """Where each weight's range ends when the whole is cut into `parts`.

    What is no whole number of parts is rounded, at the range's end and to the nearest, so that all of them add up.
    """
    edges: list[int] = []
    reached = Fraction(0)
    for share in shares(weights):
        reached += share
        edges.append(int(reached * parts + Fraction(1, 2)))
    return edges


def scaled_weights(weights: list[float]) -> list[int]:
    """The weights as whole numbers: as they are where they are whole, else times the least power of ten that makes them so."""
    exact = [Fraction(repr(weight)) for weight in weights]
    scale = 1
    while any((weight * scale).denominator != 1 for weight in exact):
        scale *= 10
    return [int(weight * scale) for weight in exact]


def whole_weights(weights: list[float]) -> list[int]:
    """Whole weights for flagd. Where `scaled_weights` are more than it can add up, they are cut to fit."""
    whole = scaled_weights(weights)
    if sum(whole) <= MOST_FLAGD:
        return whole
    before = 0
    fitted: list[int] = []
    for edge in cut(weights, MOST_FLAGD):
        fitted.append(edge - before)
        before = edge
    return fitted
