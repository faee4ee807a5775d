"""What is worth remembering: lines of heads that come again.

Looking a line up costs a tenth of reading it, and remembering it about a third. So it pays where lines repeat, as nearly all
do, and not where each is another one, as with a user's id in a field of its own or a query in every target. That is found out
by trying.
"""

from typing import Final

_IN_VAIN: Final = 32
"""Lines that are remembered one after the other, and never met again, before no more are."""
_SKIPPED: Final = 500
"""Lines that are not remembered before the next is, to try again."""


class Remembered:
    """Something read that may come again."""

    met: bool = False
    """It came again."""


class Habit:
    """Whether things of one kind come again."""

    def __init__(self) -> None:
        self._latest: Remembered | None = None
        self._in_vain: int = 0

    def forget(self) -> None:
        """Begin anew."""
        self._latest = None
        self._in_vain = 0

    def pays(self, new: Remembered) -> bool:
        """Whether `new` is to be remembered: most likely yes, if the latest that was has come again."""
        latest = self._latest
        if latest is None or latest.met:
            self._in_vain = 0
        else:
            self._in_vain += 1
            if self._in_vain > _IN_VAIN:
                if self._in_vain < _IN_VAIN + _SKIPPED:
                    return False
                self._in_vain = _IN_VAIN
        self._latest = new
        return True
