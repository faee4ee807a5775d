"""Stored answers as clients see them: what is asked of the upstream, what is not, and what is said of it."""

import pytest

from proxy.core.route_cache import CACHE_OUTCOMES
from proxy.telemetry.counters import V_CACHE_OUTCOMES, V_RESPONSE_BYTES, V_UPSTREAM
from tests.specs import version_spec
from tests.unit.dataplane.stage import Spec, Stage, answer, get, pool_spec, shop, two_versions
from tests.unit.dataplane.test_faults import fault


def cache_spec(**parts: object) -> Spec:
    return {
        "size": 1 << 20, "object_limit": 1 << 16, "default_ttl": 0.0, "stale_while_revalidate": 0.0,
        "stale_if_error": 0.0, "max_ttl": 86400.0, "shared_cookies": False,
    } | parts  # fmt: skip


def cached(**parts: object) -> Spec:
    return shop(route={"cache": cache_spec(**parts), "debug": ["0.0.0.0/0"]})


def fresh(*fields: str, body: bytes = b"hello", age: int = 60) -> bytes:
    return answer(200, f"Cache-Control: max-age={age}", *fields, body=body)


def outcomes(stage: Stage, version: str = "stable") -> dict[str, int]:
    found = {name: stage.of_version(V_CACHE_OUTCOMES + at, version) for at, name in enumerate(CACHE_OUTCOMES)}
    return {name: count for name, count in found.items() if count}


def parts(said: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, fields and body of one answer."""
    head, _, body = said.partition(b"\r\n\r\n")
    start, *lines = head.split(b"\r\n")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, _, value = line.partition(b": ")
        fields[name.lower()] = fields[name.lower()] + b", " + value if name.lower() in fields else value
    return start, fields, body


class Play:
    """A stage with one client and at most one connection to the upstream."""

    def __init__(self, spec: Spec) -> None:
        self.stage = Stage(spec)
        self.client = self.stage.client()
        self.upstream = None

    def ask(self, *fields: str, path: str = "/", **how: str) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """A request that the store answers."""
        self.client.send(get(path, *fields, **how))
        self.stage.settle()
        assert self.stage.dialling() == 0
        assert self.upstream is None or not self.upstream.take()
        return parts(self.client.take())

    def fetch(self, said: bytes, *fields: str, path: str = "/", **how: str) -> tuple[bytes, dict[bytes, bytes], bytes]:
        """A request that the upstream answers with `said`."""
        self.client.send(get(path, *fields, **how))
        self.asked = self.take_request()
        self.upstream.send(said)
        self.stage.settle()
        return parts(self.client.take())

    def take_request(self) -> bytes:
        if self.upstream is None or self.upstream.is_closing():
            self.upstream = self.stage.accept()
        self.stage.settle()
        asked = self.upstream.take()
        assert asked, "nobody asked the upstream"
        return asked

    def end(self) -> None:
        self.stage.end_everything()
        self.stage.assert_nothing_left()
        self.stage.close()


@pytest.fixture
def play(request):
    made = []

    def make(spec: Spec | None = None) -> Play:
        made.append(Play(spec or cached()))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_what_was_stored_is_given_without_asking(play):
    p = play()
    start, fields, body = p.fetch(fresh('ETag: "1"', "X-Page: a"))
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"cache-status"] == b"tidegate; fwd=uri-miss; stored"
    assert fields[b"x-tidegate-cache"] == b"miss"
    p.stage.pass_time(10)
    start, fields, body = p.ask()
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"age"] == b"10"
    assert fields[b"cache-status"] == b"tidegate; hit; ttl=50"
    assert fields[b"x-page"] == b"a"
    assert fields[b"content-length"] == b"5"
    assert fields[b"x-tidegate-cache"] == b"hit"
    assert b"date" in fields
    assert outcomes(p.stage) == {"miss": 1, "hit": 1, "stored": 1}
    assert p.stage.codes() == {("stable", "stable", 200): 2}
    assert p.stage.of_version(V_RESPONSE_BYTES) == 10


def test_hits_do_not_count_as_time_of_the_upstream(play):
    p = play()
    p.fetch(fresh())
    before = [p.stage.of_version(V_UPSTREAM + 1 + at) for at in range(200)]
    p.ask()
    assert [p.stage.of_version(V_UPSTREAM + 1 + at) for at in range(200)] == before


def test_head_is_answered_from_a_stored_get(play):
    p = play()
    p.fetch(fresh())
    start, fields, body = p.ask(method="HEAD")
    assert (start, fields[b"content-length"], body) == (b"HTTP/1.1 200 Said", b"5", b"")


def test_an_answer_to_head_is_not_stored(play):
    p = play()
    p.fetch(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 5\r\n\r\n", method="HEAD")
    p.fetch(fresh())
    assert outcomes(p.stage) == {"miss": 2, "stored": 1}


def test_a_stale_answer_with_a_validator_is_revalidated(play):
    p = play()
    p.fetch(fresh('ETag: "1"', "Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT", "X-Old: 1", "X-Both: 1"))
    p.stage.pass_time(61)
    start, fields, body = p.fetch(
        b'HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=30\r\nETag: "1"\r\nX-Both: 2\r\n\r\n'
    )
    assert b'if-none-match: "1"\r\n' in p.asked
    assert b"if-modified-since: Sat, 21 Nov 2026 10:00:00 GMT\r\n" in p.asked
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"cache-status"] == b"tidegate; fwd=stale; fwd-status=304; ttl=30"
    assert (fields[b"x-old"], fields[b"x-both"], fields[b"age"]) == (b"1", b"2", b"0")
    assert fields[b"cache-control"] == b"max-age=30"
    p.stage.pass_time(29)
    assert p.ask()[2] == b"hello"
    assert outcomes(p.stage) == {"miss": 1, "revalidated": 1, "hit": 1, "stored": 2}


def test_a_cookie_set_with_a_304_is_for_the_client_that_asked(play):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(61)
    _, fields, body = p.fetch(b"HTTP/1.1 304 Not Modified\r\nSet-Cookie: a=b\r\n\r\n")
    assert (fields[b"set-cookie"], body) == (b"a=b", b"hello")
    _, fields, body = p.ask()
    assert body == b"hello"
    assert b"set-cookie" not in fields


@pytest.mark.parametrize("said", ["no-store", "private"])
def test_a_304_that_forbids_keeping_is_passed_on_and_obeyed(play, said):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(61)
    assert p.fetch(f"HTTP/1.1 304 Not Modified\r\nCache-Control: {said}\r\n\r\n".encode())[2] == b"hello"
    assert p.fetch(fresh(body=b"new"))[2] == b"new"
    assert b"if-none-match" not in p.asked


def test_a_304_of_another_answer_is_the_last_use_of_the_stored_one(play):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(61)
    assert p.fetch(b'HTTP/1.1 304 Not Modified\r\nETag: "2"\r\n\r\n')[2] == b"hello"
    p.fetch(fresh(body=b"new"))
    assert b"if-none-match" not in p.asked


def test_credentials_get_only_what_is_for_all(play):
    p = play()
    p.fetch(fresh(body=b"anonymous"))
    _, fields, body = p.fetch(answer(200, "Cache-Control: max-age=60, public", body=b"all"), "Authorization: Basic x")
    assert (fields[b"cache-status"], body) == (b"tidegate; fwd=request; stored", b"all")
    assert p.ask("Authorization: Basic y")[2] == b"all"
    assert p.ask()[2] == b"all"


def test_what_the_route_alone_keeps_is_not_for_clients_with_cookies(play):
    p = play(cached(default_ttl=60.0))
    p.fetch(answer(200, body=b"anonymous"))
    assert p.ask()[2] == b"anonymous"
    _, fields, body = p.fetch(answer(200, body=b"mine"), "Cookie: session=1")
    assert (fields[b"cache-status"], body) == (b"tidegate; fwd=request; detail=cookie", b"mine")
    assert p.ask()[2] == b"anonymous"


def test_a_stale_answer_that_changed_is_replaced(play):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(61)
    assert p.fetch(fresh('ETag: "2"', body=b"other"))[2] == b"other"
    assert p.ask()[2] == b"other"


def test_a_client_with_a_current_copy_gets_304_from_the_store(play):
    p = play()
    p.fetch(fresh('ETag: "1"', "Content-Type: text/plain"))
    start, fields, body = p.ask('If-None-Match: "0", W/"1"')
    assert (start, body) == (b"HTTP/1.1 304 Not Modified", b"")
    assert fields[b"etag"] == b'"1"'
    assert b"content-type" not in fields
    assert b"content-length" not in fields
    assert p.ask('If-None-Match: "2"')[0] == b"HTTP/1.1 200 Said"
    assert p.stage.codes() == {("stable", "stable", 200): 2, ("stable", "stable", 304): 1}


def test_a_client_with_an_old_copy_is_answered_after_revalidation(play):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(61)
    assert p.fetch(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n', 'If-None-Match: "0"')[2] == b"hello"
    assert p.asked.count(b"if-none-match") == 1
    assert b"If-None-Match" not in p.asked


def test_a_304_for_the_clients_own_condition_is_passed_on(play):
    p = play()
    start, fields, _ = p.fetch(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n', 'If-None-Match: "1"')
    assert start == b"HTTP/1.1 304 Not Modified"
    assert fields[b"cache-status"] == b"tidegate; fwd=uri-miss; detail=status"


def test_chunked_answers_are_given_with_their_length(play):
    p = play()
    said = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
    p.client.send(get())
    p.take_request()
    p.upstream.send(said + b"3\r\nhel\r\n")
    p.upstream.send(b"2\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n")
    assert b"transfer-encoding: chunked" in p.client.take()
    _, fields, body = p.ask()
    assert (fields[b"content-length"], body) == (b"5", b"hello")
    assert b"transfer-encoding" not in fields
    assert b"x-trailer" not in fields


def test_an_answer_that_ends_with_its_connection_is_stored_whole(play):
    p = play()
    p.client.send(get(version="1.0"))
    p.take_request()
    p.upstream.send(b"HTTP/1.0 200 OK\r\nCache-Control: max-age=60\r\n\r\nhel")
    p.upstream.send(b"lo")
    p.upstream.eof()
    p.stage.settle()
    p.client = p.stage.client()
    start, fields, body = p.ask()
    assert (start, fields[b"content-length"], body) == (b"HTTP/1.1 200 OK", b"5", b"hello")


def test_an_answer_that_was_cut_short_is_not_stored(play):
    p = play()
    p.client.send(get())
    p.take_request()
    p.upstream.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhel")
    p.upstream.eof()
    p.stage.settle()
    assert outcomes(p.stage) == {"miss": 1}
    assert p.stage.plan.routes[0].life.cache.store.recording == 0


def test_an_answer_whose_client_left_is_not_stored(play):
    p = play()
    p.client.send(get())
    p.take_request()
    p.upstream.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\nhel")
    p.client.reset()
    p.stage.settle()
    assert p.stage.plan.routes[0].life.cache.store.recording == 0
    assert outcomes(p.stage) == {"miss": 1}


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_beyond_the_limit_is_passed_on_and_not_stored(play, chunked):
    p = play(cached(object_limit=4))
    framing = "Transfer-Encoding: chunked" if chunked else "Content-Length: 5"
    body = b"5\r\nhello\r\n0\r\n\r\n" if chunked else b"hello"
    _, fields, got = p.fetch(answer(200, "Cache-Control: max-age=60", framing, body=body))
    assert b"hello" in got
    if not chunked:
        assert fields[b"cache-status"] == b"tidegate; fwd=uri-miss; detail=too_large"
    assert outcomes(p.stage) == {"miss": 1}


def test_a_changed_resource_is_not_given_from_the_store(play):
    p = play()
    p.fetch(fresh())
    p.fetch(answer(204), "Content-Length: 0", method="POST")
    p.stage.pass_time(0.1)
    assert p.fetch(fresh(body=b"new"))[2] == b"new"
    assert outcomes(p.stage) == {"miss": 2, "bypass": 1, "stored": 2}


def test_a_change_that_failed_leaves_the_store_alone(play):
    p = play()
    p.fetch(fresh())
    p.fetch(answer(409, body=b"no"), "Content-Length: 0", method="POST")
    assert p.ask()[2] == b"hello"


def test_an_answer_overtaken_by_a_change_is_not_stored(play):
    p = play()
    p.client.send(get())
    first = p.stage.accept()
    other = p.stage.client()
    other.send(get("/", "Content-Length: 0", method="POST"))
    second = p.stage.accept()
    p.stage.time += 0.01
    second.send(answer(204))
    first.send(fresh())
    assert outcomes(p.stage) == {"miss": 1, "bypass": 1}


def test_ranges_and_upgrades_pass_by(play):
    p = play()
    p.fetch(fresh())
    _, fields, _ = p.fetch(
        answer(206, "Cache-Control: max-age=60", "Content-Range: bytes 0-0/5", body=b"h"), "Range: bytes=0-0"
    )
    assert fields[b"cache-status"] == b"tidegate; fwd=bypass"
    assert p.ask()[2] == b"hello"


def test_a_body_that_came_during_a_delay_is_still_a_body(play):
    """An answer to a GET with a body may rest on that body, which is not in the key."""
    delay = fault("delay", delay=1.0)
    p = play(shop(route={"cache": cache_spec(), "faults": [delay]}, faults={"enabled": True, "max_percent": 100.0}))
    p.client.send(get("/", "Content-Length: 5", body=b"drink"))
    p.stage.pass_time(1.1)
    assert p.take_request().endswith(b"drink")
    p.upstream.send(fresh(body=b"poison"))
    assert b"fwd=bypass" in p.client.take()
    p.client.send(get())
    p.stage.pass_time(1.1)
    assert p.take_request()
    p.upstream.send(fresh())
    assert p.client.take().endswith(b"hello")


def test_what_connection_takes_away_from_the_upstream_is_no_variant(play):
    """Else whoever asks so decides what all who really send the field are given."""
    p = play()
    _, fields, _ = p.fetch(
        fresh("Vary: Origin", body=b"not for you"), "Origin: https://shop.example", "Connection: keep-alive, Origin"
    )
    assert b"Origin" not in p.asked
    assert fields[b"cache-status"] == b"tidegate; fwd=bypass"
    p.fetch(fresh("Vary: Origin", body=b"for you"), "Origin: https://shop.example")
    assert p.ask("Origin: https://shop.example", "Connection: keep-alive, TE", "TE: trailers")[2] == b"for you"


def test_vary_keeps_variants_apart(play):
    p = play()
    p.fetch(fresh("Vary: Accept-Language", body=b"no"), "Accept-Language: nb")
    _, fields, _ = p.fetch(fresh("Vary: Accept-Language", body=b"de"), "Accept-Language: de")
    assert fields[b"cache-status"] == b"tidegate; fwd=vary-miss; stored"
    assert p.ask("Accept-Language: nb")[2] == b"no"
    assert p.ask("Accept-Language: de")[2] == b"de"


def test_vary_by_unit_uses_what_the_upstream_was_told(play):
    p = play()
    p.fetch(fresh("Vary: x-tidegate-unit-hash", body=b"alice"), "x-user-id: alice")
    p.fetch(fresh("Vary: x-tidegate-unit-hash", body=b"bob"), "x-user-id: bob", "x-tidegate-unit-hash: forged")
    assert p.ask("x-user-id: alice")[2] == b"alice"
    assert p.ask("x-user-id: bob")[2] == b"bob"


def test_only_if_cached_is_answered_504_where_nothing_is_stored(play):
    p = play()
    start, fields, _ = p.ask("Cache-Control: only-if-cached")
    assert start.startswith(b"HTTP/1.1 504")
    assert fields[b"x-tidegate-flags"] == b"NC"
    assert p.stage.flags() == {}
    p.fetch(fresh())
    assert p.ask("Cache-Control: only-if-cached")[2] == b"hello"


def test_a_client_may_ask_past_the_store(play):
    p = play()
    p.fetch(fresh('ETag: "1"'))
    _, fields, _ = p.fetch(fresh('ETag: "2"', body=b"new"), "Cache-Control: no-cache")
    assert b'if-none-match: "1"' in p.asked
    assert fields[b"cache-status"] == b"tidegate; fwd=request; stored"
    assert p.ask()[2] == b"new"


def test_stale_while_revalidate_answers_at_once_and_refreshes_once(play):
    p = play(cached(stale_while_revalidate=30.0))
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(62)
    p.client.send(get())
    start, fields, body = parts(p.client.take())
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"cache-status"] == b"tidegate; hit; ttl=-2"
    assert fields[b"x-tidegate-flags"] == b"ST"
    p.client.send(get())
    assert parts(p.client.take())[2] == b"hello"
    asked = p.take_request()
    assert b'if-none-match: "1"' in asked
    assert p.stage.dialling() == 0
    p.upstream.send(fresh('ETag: "2"', body=b"newer"))
    p.stage.settle()
    assert p.ask()[2] == b"newer"
    assert outcomes(p.stage) == {"miss": 1, "stale": 2, "hit": 1, "refreshed": 1, "stored": 2}
    assert p.stage.flags() == {}


def test_a_refresh_by_304_makes_it_fresh(play):
    p = play(cached(stale_while_revalidate=30.0))
    p.fetch(fresh('ETag: "1"'))
    p.stage.pass_time(62)
    p.client.send(get(method="HEAD"))
    assert parts(p.client.take())[2] == b""
    asked = p.take_request()
    assert asked.startswith(b"GET / ")
    p.upstream.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    assert p.ask()[1][b"cache-status"] == b"tidegate; hit; ttl=60"


def test_a_refresh_that_fails_is_not_tried_again_at_once(play):
    p = play(cached(stale_while_revalidate=30.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    p.client.send(get())
    p.client.take()
    p.take_request()
    p.upstream.send(answer(503, body=b"down"))
    assert p.ask()[2] == b"hello"
    p.stage.pass_time(1.1)
    p.client.send(get())
    p.client.take()
    p.take_request()
    p.upstream.send(b"HTTP/1.1 200 OK\r\n")
    p.upstream.eof()
    p.stage.settle()
    assert p.ask()[2] == b"hello"


def test_a_refresh_that_may_not_be_kept_takes_the_old_one_away(play):
    p = play(cached(stale_while_revalidate=30.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    p.client.send(get())
    p.client.take()
    p.take_request()
    p.upstream.send(answer(200, "Cache-Control: private", body=b"mine"))
    p.fetch(fresh(body=b"new"))
    assert outcomes(p.stage)["miss"] == 2


def test_a_refresh_that_hangs_ends_by_its_deadline(play):
    p = play(cached(stale_while_revalidate=300.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    p.client.send(get())
    p.client.take()
    p.take_request()
    p.stage.pass_time(16)
    assert not p.stage.upstreams.copies
    assert p.stage.pool().requests == 0


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_stale_if_error_stands_in_for_a_failing_answer(play, status):
    p = play(cached(stale_if_error=300.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    start, fields, body = p.fetch(answer(status, body=b"down"))
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"x-tidegate-flags"] == b"5xx,ST"
    assert fields[b"cache-status"] == f"tidegate; fwd=stale; fwd-status={status}; ttl=-2".encode()
    assert p.stage.flags() == {"5xx": 1}
    assert p.stage.codes() == {("stable", "stable", 200): 2}
    assert outcomes(p.stage) == {"miss": 1, "stale": 1, "stored": 1}


def test_stale_if_error_stands_in_for_a_failing_answer_whose_body_is_still_coming(play):
    p = play(cached(stale_if_error=300.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    assert p.fetch(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nx")[2] == b"hello"
    assert p.upstream.is_closing()
    p.fetch(answer(404, body=b"gone"))


@pytest.mark.parametrize("how", ["refused", "closed", "late", "nonsense"])
def test_stale_if_error_stands_in_where_nobody_answers(play, how):
    p = play(cached(stale_if_error=300.0))
    p.fetch(fresh())
    p.upstream.eof()
    p.stage.pass_time(62)
    p.client.send(get())
    flag = {"refused": b"UF", "closed": b"UC", "late": b"UT", "nonsense": b"UPE"}[how]
    if how == "refused":
        p.stage.refuse()
    else:
        upstream = p.stage.accept()
        if how == "closed":
            upstream.eof()
        elif how == "late":
            p.stage.pass_time(16)
        else:
            upstream.send(b"220 smtp\r\n\r\n")
    p.stage.settle()
    start, fields, body = parts(p.client.take())
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")
    assert fields[b"x-tidegate-flags"] == flag + b",ST"
    assert b"detail=" + flag in fields[b"cache-status"]
    assert p.stage.flags().get("UF", 0) == (how == "refused")
    assert p.stage.codes() == {("stable", "stable", 200): 2}


def test_beyond_its_window_an_old_answer_does_not_stand_in(play):
    p = play(cached(stale_if_error=10.0))
    p.fetch(fresh())
    p.stage.pass_time(71)
    assert p.fetch(answer(503, body=b"down"))[2] == b"down"
    p.fetch(answer(200, "Cache-Control: max-age=60, must-revalidate", body=b"strict"))
    p.stage.pass_time(62)
    assert p.fetch(answer(503, body=b"down"))[2] == b"down"


def test_failures_are_not_stored_over_the_last_good_answer(play):
    p = play(cached(stale_if_error=300.0))
    p.fetch(fresh())
    p.stage.pass_time(62)
    p.fetch(answer(503, "Cache-Control: max-age=60", body=b"down"))
    assert p.fetch(fresh(body=b"up"))[2] == b"up"


def test_answers_with_cookies_are_not_stored(play):
    p = play()
    assert p.fetch(fresh("Set-Cookie: a=b"))[1][b"cache-status"] == b"tidegate; fwd=uri-miss; detail=set_cookie"
    p.fetch(answer(200, 'Cache-Control: max-age=60, no-cache="set-cookie"', "Set-Cookie: a=b", body=b"shared"))
    _, fields, body = p.ask()
    assert body == b"shared"
    assert b"set-cookie" not in fields


def test_a_minted_cookie_is_each_clients_own(play):
    p = play(
        shop(
            route={"cache": cache_spec(), "unit": [{"kind": "mint_cookie", "name": "tg_unit"}]},
            secrets={"cookie": ["k" * 32], "unit_hash": ""},
        )
    )
    _, first, _ = p.fetch(fresh())
    _, second, _ = p.ask()
    assert first[b"set-cookie"] != second[b"set-cookie"]


def test_old_clients_and_closing_ones_are_answered_in_their_way(play):
    p = play()
    p.fetch(fresh())
    _, fields, body = p.ask(version="1.0")
    assert (fields[b"connection"], fields[b"content-length"], body) == (b"close", b"5", b"hello")
    assert p.client.ended
    p.client = p.stage.client()
    assert p.ask("Connection: keep-alive", version="1.0")[1][b"connection"] == b"keep-alive"
    assert p.ask("Connection: close")[1][b"connection"] == b"close"
    assert p.client.ended


def test_pipelined_requests_are_all_answered_from_the_store(play):
    p = play()
    p.fetch(fresh())
    p.client.send(get() * 3)
    assert p.client.take().count(b"hello") == 3


def test_what_an_upstream_says_of_the_hop_is_not_stored(play):
    p = play()
    p.fetch(
        answer(200, "Cache-Control: max-age=60", "Connection: x-hop", "X-Hop: 1", "Age: 7", "Via: 1.1 other", body=b"x")
    )
    _, fields, _ = p.ask()
    assert b"x-hop" not in fields
    assert fields[b"age"] == b"7"
    assert fields[b"via"] == b"1.1 other, 1.1 tidegate"


def test_answers_of_one_scheme_and_host_are_not_given_under_another(play):
    p = play(cached() | {"trusted_proxies": ["192.0.2.0/24"]})
    p.fetch(answer(301, "Cache-Control: max-age=60", "Location: https://x/", body=b"go"), "X-Forwarded-Proto: http")
    p.fetch(fresh(body=b"secure"), "X-Forwarded-Proto: https")
    p.fetch(fresh(body=b"evil"), "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.example")
    assert p.ask("X-Forwarded-Proto: https")[2] == b"secure"
    assert p.ask("X-Forwarded-Proto: http")[2] == b"go"


# Versions.


def both(**parts: object) -> Spec:
    return two_versions(route={"cache": cache_spec(**parts), "debug": ["0.0.0.0/0"]})


@pytest.mark.parametrize(
    "said",
    ["X-Forwarded-Port: 1337", "X_Forwarded_Prefix: /evil", "X-Original-URL: /admin", "X-HTTP-Method-Override: PUT"],
)
def test_what_tells_a_framework_another_address_is_told_apart(play, said):
    """An answer with links to where a stranger says that they lead must not be given to others."""
    p = play()
    p.fetch(fresh(body=b"poisoned"), said)
    p.fetch(fresh(body=b"clean"))
    assert p.ask()[2] == b"clean"
    assert p.ask(said)[2] == b"poisoned"


def test_what_a_fallback_answers_is_stored_as_its_own(play):
    p = play(both())
    p.client.send(get())
    p.stage.refuse()
    p.upstream = p.stage.accept()
    p.upstream.take()
    p.upstream.send(fresh(body=b"stable page"))
    assert parts(p.client.take())[2] == b"stable page"
    assert outcomes(p.stage, "stable") == {"stored": 1}
    assert outcomes(p.stage, "canary") == {"miss": 1}
    p.stage.pass_time(1)
    p.upstream = None
    assert p.fetch(fresh(body=b"canary page"))[2] == b"canary page"
    assert p.ask()[2] == b"canary page"


def test_where_all_fail_the_fallbacks_old_answer_stands_in(play):
    p = play(both(stale_if_error=300.0))
    p.client.send(get())
    p.stage.refuse()
    upstream = p.stage.accept()
    upstream.send(fresh(body=b"stable page"))
    p.client.take()
    upstream.eof()
    p.stage.pass_time(62)
    p.client.send(get())
    p.stage.refuse()
    p.stage.refuse()
    _, fields, body = parts(p.client.take())
    assert body == b"stable page"
    assert (fields[b"x-tidegate-version"], fields[b"x-tidegate-served"]) == (b"canary", b"stable")
    assert fields[b"x-tidegate-flags"].endswith(b",FB,ST")
    assert p.stage.codes() == {("canary", "stable", 200): 2}


@pytest.mark.parametrize("killed", [False, True])
def test_the_old_answer_of_a_fallback_that_is_killed_does_not_stand_in(play, killed):
    def chain(kill):
        names = ("canary", "middle", "stable")
        versions = [
            version_spec("canary", 100.0, upstream="canary", fallback="middle"),
            version_spec("middle", upstream="middle", fallback="stable", kill=kill),
            version_spec("stable", upstream="stable"),
        ]
        route = {"versions": versions, "default": "canary", "cache": cache_spec(stale_if_error=300.0)}
        return shop(route=route, upstreams=[pool_spec(name, f"10.0.0.{place}") for place, name in enumerate(names)])

    p = play(chain(None))
    p.client.send(get())
    p.stage.refuse()
    p.upstream = p.stage.accept()
    p.upstream.send(fresh(body=b"middle page"))
    p.client.take()
    p.upstream.eof()
    p.stage.pass_time(62)
    p.stage.bring(chain({"until": 0.0} if killed else None))
    p.client.send(get())
    while p.stage.dialling():
        p.stage.refuse()
    start, _, body = parts(p.client.take())
    assert start.startswith(b"HTTP/1.1 503" if killed else b"HTTP/1.1 200")
    assert (body == b"middle page") is not killed


def test_a_condition_is_put_to_the_version_that_made_the_answer_alone(play):
    p = play(both())
    p.upstream = None
    p.fetch(fresh('ETag: "canary"'))
    p.upstream.eof()
    p.stage.pass_time(62)
    p.client.send(get())
    p.stage.refuse()
    upstream = p.stage.accept()
    assert b"if-none-match" not in upstream.take()
    upstream.send(fresh(body=b"stable page"))
    assert parts(p.client.take())[2] == b"stable page"


def test_a_reload_of_weights_keeps_what_is_stored(play):
    spec = both()
    p = play(spec)
    p.fetch(fresh(body=b"canary page"))
    spec["generation"] = 2
    spec["routes"][0]["versions"] = [
        version_spec("stable", 50.0, upstream="old"), version_spec("canary", 50.0, upstream="new", fallback="stable"),
    ]  # fmt: skip
    p.stage.bring(spec)
    assert p.stage.plan.routes[0].life.cache.store.used > 0
    p.client.send(get())
    assert parts(p.client.take())[2] == b"canary page"


@pytest.mark.parametrize("change", ["upstream", "endpoints", "rewrite"])
def test_a_version_that_is_somebody_else_begins_anew(play, change):
    p = play(cached())
    p.fetch(fresh(body=b"old"))
    p.upstream.eof()
    spec = cached()
    if change == "upstream":
        spec["upstreams"] = [pool_spec("w", "10.0.0.1")]
        spec["routes"][0]["versions"] = [version_spec("stable", 100.0, upstream="w")]
    elif change == "endpoints":
        spec["upstreams"] = [pool_spec("u", "10.0.0.9")]
    else:
        spec["routes"][0]["rewrite"] = {"strip_prefix": "", "set_headers": {"x-env": "b"}, "remove_headers": []}
    p.stage.bring(spec)
    assert p.fetch(fresh(body=b"new"))[2] == b"new"
    assert p.ask()[2] == b"new"


def test_an_upstream_that_grows_keeps_what_is_stored(play):
    p = play(cached())
    p.fetch(fresh())
    spec = cached()
    spec["upstreams"] = [pool_spec("u", "10.0.0.1", "10.0.0.2")]
    p.stage.bring(spec)
    assert p.ask()[2] == b"hello"


def test_a_smaller_cache_gives_up_what_has_no_room(play):
    p = play(cached())
    p.fetch(fresh())
    p.stage.bring(cached(size=1000))
    assert outcomes(p.stage) == {"miss": 1, "stored": 1, "evicted": 1}
    p.stage.bring(shop())
    assert p.stage.plan.routes[0].life is None


def test_a_large_answer_is_given_whole(play):
    p = play(cached(object_limit=1 << 20))
    body = bytes(200_000)
    p.fetch(fresh(body=body))
    assert p.ask()[2] == body
