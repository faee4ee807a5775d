"""Plays: whole scenarios on the real data plane, in memory, with a clock that the play moves."""
