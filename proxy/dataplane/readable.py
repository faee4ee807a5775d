"""Whether a socket has something that nobody has read yet: the loop may not have come to it."""

import select


def readable(descriptor: int) -> bool:
    """Whether bytes, a connection to accept, or the end of the stream wait."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
