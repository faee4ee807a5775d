"""Who leaves is noticed, and what outlives a plan belongs to the plan it began on."""

from tests.unit.dataplane.stage import Stage, get, shop


def test_client_that_goes_is_noticed_after_its_body_came_before_a_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 4", method="POST", body=b"body"))
    upstream = stage.accept()
    assert upstream.take().endswith(b"body")
    assert client.reading
    client.eof()
    stage.settle()
    assert upstream.ended == "abort"


def test_tunnel_belongs_to_the_plan_that_its_exchange_stood_on(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
    upstream = stage.accept()
    first = stage.plan.generation
    stage.bring(shop(generation=first + 1))
    upstream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert client.protocol.carrier is not None
    assert client.protocol.generation() == first
