"""Whatever happens in whatever order: nobody is given a page of another version, address, language or time than is allowed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.specs import version_spec
from tests.unit.dataplane.stage import Spec, Stage, get, two_versions
from tests.unit.dataplane.test_caching import cache_spec, parts
from tests.unit.dataplane.wires import Wire

LIFETIME = 10
WINDOW = 20
IF_ERROR = 60

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("get"), st.sampled_from("ab"), st.sampled_from(["/x", "/y"]), st.sampled_from(["no", ""])),
        st.tuples(st.just("change"), st.just("a"), st.sampled_from(["/x", "/y"]), st.just("")),
        st.tuples(st.just("time"), st.integers(1, 30)),
        st.tuples(st.just("weights"), st.integers(0, 100)),
        st.tuples(st.just("fail"), st.sampled_from(["stable", "canary"]), st.booleans()),
    ),
    max_size=40,
)


def spec(weight: int, generation: int) -> Spec:
    made = two_versions(
        route={
            "cache": cache_spec(stale_while_revalidate=float(WINDOW), stale_if_error=float(IF_ERROR), size=8000),
            "debug": ["0.0.0.0/0"],
            "versions": [
                version_spec("stable", 100.0 - weight, upstream="old"),
                version_spec("canary", float(weight), upstream="new", fallback="stable"),
            ],
        }
    )
    return made | {"generation": generation}


class World:
    """Two versions that say in each page whose it is, of what, in which language, and when it was made."""

    def __init__(self) -> None:
        self.stage = Stage(spec(50, 1))
        self.changed: dict[str, float] = {}  # when what is at a target changed
        self.failing = {"stable": False, "canary": False}
        self.wires: list[Wire] = []
        self.generation = 1

    def serve(self) -> None:
        """Answer whatever has come to any upstream."""
        while self.stage.dialling():
            self.wires.append(self.stage.accept())
        self.stage.settle()
        for wire in self.wires:
            for head in wire.take().split(b"\r\n\r\n")[:-1]:
                wire.send(self.page(head))
        self.stage.settle()

    def page(self, head: bytes) -> bytes:
        lines = head.split(b"\r\n")
        fields = {name.lower(): value for name, _, value in (line.partition(b": ") for line in lines[1:])}
        version = fields[b"x-tidegate-version"].decode()
        if self.failing[version]:
            return b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"
        target = lines[0].split(b" ")[1].decode()
        body = f"{version} {target} {fields.get(b'accept-language', b'').decode()} {self.stage.time:.2f}".encode()
        return (
            f"HTTP/1.1 200 OK\r\nCache-Control: max-age={LIFETIME}\r\nVary: Accept-Language\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def ask(self, user: str, target: str, language: str) -> None:
        fields = [f"x-user-id: {user}", *([f"Accept-Language: {language}"] if language else [])]
        self.client = self.stage.client()
        self.client.send(get(target, *fields))
        self.serve()
        self.serve()
        start, said, body = parts(self.client.take())
        if not start.startswith(b"HTTP/1.1 200"):
            assert any(self.failing.values())
            return
        version, path, spoken, made = body.decode().split(" ")
        assert version == said[b"x-tidegate-served"].decode()
        assert version in (said[b"x-tidegate-version"].decode(), "stable"), "a canary's page for a user of stable"
        assert (path, spoken) == (target, language)
        old = self.stage.time - float(made)
        flags = said[b"x-tidegate-flags"].split(b",")
        if b"ST" not in flags:
            assert old <= LIFETIME
        elif b"5xx" in flags:
            assert old <= LIFETIME + IF_ERROR
        else:
            assert old <= LIFETIME + WINDOW
        assert float(made) >= self.changed.get(target, 0.0), "older than a change"

    def play(self, steps: list[tuple]) -> None:
        for step in steps:
            if step[0] == "get":
                self.ask(*step[1:])
            elif step[0] == "change":
                self.client = self.stage.client()
                self.client.send(get(step[2], f"x-user-id: {step[1]}", "Content-Length: 0", method="POST"))
                self.serve()
                if parts(self.client.take())[0].startswith(b"HTTP/1.1 200"):
                    self.changed[step[2]] = self.stage.time
                self.stage.pass_time(0.1)
            elif step[0] == "time":
                self.stage.pass_time(float(step[1]))
                self.serve()
            elif step[0] == "weights":
                self.generation += 1
                self.stage.bring(spec(step[1], self.generation))
            else:
                self.failing[step[1]] = step[2]
            store = self.stage.plan.routes[0].life.cache.store
            assert store.used <= store.size
            assert store.recording == 0


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_nobody_is_given_what_is_not_theirs(steps):
    world = World()
    try:
        world.play(steps)
        world.stage.end_everything()
        world.stage.assert_nothing_left()
    finally:
        world.stage.close()
