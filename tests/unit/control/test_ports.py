"""The admin ports are opened anew when they must be, and a reload that cannot open them is tried again by the next."""

import asyncio

from proxy.control.ports import AdminPorts
from proxy.errors import TidegateError


class Opened:
    def __init__(self, settings, log):
        self.addresses = {"admin": settings}
        self.log = log

    async def close(self):
        self.log.append(("closed", self.addresses["admin"]))


class House:
    """Ports that open wherever they are told, unless the place is taken."""

    def __init__(self):
        self.log = []
        self.ports = AdminPorts(self.open)

    async def open(self, settings):
        if settings == "taken":
            raise TidegateError("the address is taken")
        self.log.append(("opened", settings))
        return Opened(settings, self.log)


def test_ports_stay_open_while_nothing_changes_and_are_exchanged_when_something_does():
    async def play(house):
        assert house.ports.addresses == {}
        await house.ports.open("one")
        await house.ports.follow("two", changed=False)
        assert house.ports.addresses == {"admin": "one"}
        await house.ports.follow("two", changed=True)
        assert house.ports.addresses == {"admin": "two"}
        await house.ports.close()
        await house.ports.close()
        assert house.ports.addresses == {}
        assert house.log == [("opened", "one"), ("closed", "one"), ("opened", "two"), ("closed", "two")]

    asyncio.run(play(House()))


def test_ports_that_could_not_be_opened_are_tried_again_by_the_next_reload(caplog):
    async def play(house):
        await house.ports.open("one")
        await house.ports.follow("taken", changed=True)
        assert "the address is taken; the ports stay closed until a reload opens them" in caplog.text
        assert house.ports.addresses == {}
        await house.ports.follow("two", changed=False)
        assert house.ports.addresses == {"admin": "two"}

    asyncio.run(play(House()))
