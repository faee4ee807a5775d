"""Answers as an independent reader sees them."""

import h11


def read_answer(data: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, fields, body, and whether the answer is whole, as an independent reader sees it."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    status, fields, body = 0, {}, b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            return status, fields, body, False
        if isinstance(event, h11.Response):
            status, fields = event.status_code, dict(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, fields, body, True
