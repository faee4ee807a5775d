"""Small answers are one piece; a large body is not copied behind its head, and both go out together."""

from collections.abc import Callable, Iterable

import pytest

from tests.unit.dataplane.stage import GET, Stage, answer, shop

StageOf = Callable[..., Stage]


@pytest.mark.parametrize(("size", "together"), [(5, 0), (16 << 10, 0), ((16 << 10) + 1, 1), (200_000, 1)])
def test_large_bodies_are_written_beside_their_heads(stage_of: StageOf, size: int, together: int) -> None:
    stage = stage_of(shop())
    client = stage.client()
    pairs: list[list[bytes]] = []

    def writelines(pieces: Iterable[bytes]) -> None:
        pairs.append(list(pieces))
        client.write(b"".join(pairs[-1]))

    client.writelines = writelines  # type: ignore[method-assign, assignment]
    client.send(GET)
    body = b"x" * size
    stage.accept().send(answer(body=body))
    assert client.take().endswith(b"\r\n\r\n" + body)
    assert len(pairs) == together
    assert all(len(pair) == 2 and pair[1] == body for pair in pairs)
    stage.end_everything()
