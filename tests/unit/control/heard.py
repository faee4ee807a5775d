"""Whoever is told something, in place of the one that would do something about it."""


class Heard:
    """Notes every call: its name and what it was given."""

    def __init__(self):
        self.said = []

    def __getattr__(self, name):
        return lambda *values: self.said.append((name, *values))

    def taken(self):
        """What was noted since the last time."""
        said, self.said = self.said, []
        return said

    def names(self):
        return [what[0] for what in self.said]
