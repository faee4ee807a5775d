"""The store: bounded in bytes, in variants, and in what a crawler can drive out."""

import tracemalloc

from proxy.core.cache_store import OVERHEAD, VARIANTS, CacheStore, Stored
from proxy.core.freshness import Terms
from proxy.core.route_cache import RouteCache, Source


def stored(
    key: bytes,
    body: bytes = b"",
    *,
    variant: bytes = b"",
    vary: list[bytes] | None = None,
    lifetime: float = 60.0,
    tag: bytes = b"",
) -> Stored:
    terms = Terms(lifetime, 0.0, 0.0, 0.0, False, False, False, False, frozenset(), vary or [])
    return Stored(key, variant, "stable", 200, b"HTTP/1.1 200 OK\r\n", body, tag, b"", -1.0, terms, 0.0)


def room(answers: int) -> CacheStore:
    return CacheStore(answers * stored(b"k00").size)


def test_what_is_put_is_found_until_it_is_removed():
    store = room(4)
    one = stored(b"k00", b"x")
    store.put(one, 0.0)
    assert store.find(b"k00", {}, b"") is one
    assert store.find(b"k01", {}, b"") is None
    store.remove(one)
    store.remove(one)
    assert (store.find(b"k00", {}, b""), store.used, len(store)) == (None, 0, 0)


def test_everything_is_counted():
    count = 2000
    store = CacheStore(1 << 30)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for at in range(count):
            terms = Terms(
                60.0 + at, at * 0.1, at * 1.1, at * 1.2, False, False, False, False, frozenset(), [b"accept%d" % at]
            )
            store.put(
                Stored(
                    b"key%04d" % at, b"variant%d" % at, "stable", 200, bytes(300), bytes(1000), b'"%d"' % at,
                    b"Mon %d" % at, at * 1.0, terms, at * 2.0,
                ),
                0.0,
            )  # fmt: skip
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert taken <= store.used
    assert store.used - taken < count * OVERHEAD / 2


def test_it_never_holds_more_than_its_size():
    store = room(10)
    lost = 0
    for at in range(100):
        lost += len(store.put(stored(b"k%02d" % at), 0.0))
        assert store.used <= store.size
    assert (len(store), lost) == (10, 90)


def test_what_is_larger_than_everything_is_not_taken():
    store = room(2)
    assert store.put(stored(b"k00", bytes(9000)), 0.0) == []
    assert len(store) == 0


def test_the_same_variant_is_replaced():
    store = room(4)
    store.put(stored(b"k00", b"a"), 0.0)
    newer = stored(b"k00", b"b")
    assert store.put(newer, 0.0) == []
    assert store.find(b"k00", {}, b"") is newer
    assert (len(store), store.used) == (1, newer.size)


def test_variants_of_one_uri_are_bounded():
    store = CacheStore(1 << 20)
    for at in range(VARIANTS + 3):
        store.put(stored(b"k00", variant=b"accept:%d" % at, vary=[b"accept"]), 0.0)
    assert len(store) == VARIANTS
    assert store.find(b"k00", {b"accept": b"2"}, b"") is None
    assert store.find(b"k00", {b"accept": b"3"}, b"") is not None


def test_variants_that_differ_by_different_fields_are_told_apart():
    store = CacheStore(1 << 20)
    for at in range(3):
        store.put(stored(b"k00", b"a%d" % at, variant=b"accept:%d" % at, vary=[b"accept"]), 0.0)
        store.put(stored(b"k00", b"o%d" % at, variant=b"origin:%d" % at, vary=[b"origin"]), 0.0)
    for name in (b"accept", b"origin"):
        for at in range(3):
            found = store.find(b"k00", {name: b"%d" % at}, b"")
            assert found is not None
            assert found.body == name[:1] + b"%d" % at
    assert store.find(b"k00", {b"accept": b"3", b"origin": b"3"}, b"") is None


def test_the_newest_of_those_that_fit_is_found():
    store = CacheStore(1 << 20)
    store.put(stored(b"k00", b"plain"), 0.0)
    store.put(stored(b"k00", b"no", variant=b"accept:x", vary=[b"accept"]), 0.0)
    found = store.find(b"k00", {b"accept": b"x"}, b"")
    assert found is not None
    assert found.body == b"no"
    found = store.find(b"k00", {}, b"")
    assert found is not None
    assert found.body == b"plain"


def test_what_everybody_asks_for_outlasts_what_is_asked_for_once():
    store = room(20)
    popular = [stored(b"p%02d" % at) for at in range(10)]
    for one in popular:
        store.put(one, 0.0)
        store.used_again(one)
        store.used_again(one)
    for at in range(1000):
        store.put(stored(b"c%03d" % at), 0.0)
        for one in popular:
            store.used_again(one)
    assert all(one.held for one in popular)


def test_what_is_of_no_use_any_more_goes_although_it_was_asked_for():
    store = room(3)
    old = stored(b"old")
    store.put(old, 0.0)
    for _ in range(3):
        store.used_again(old)
    for at in range(4):
        store.put(stored(b"k%02d" % at), 100.0)
    assert not old.held


def test_a_smaller_size_gives_up_what_has_no_room():
    store = room(10)
    for at in range(10):
        store.put(stored(b"k%02d" % at), 0.0)
    assert len(store.resize(store.size // 2, 0.0)) == 5
    assert store.used <= store.size


def source(upstream: str = "u", *endpoints: str, rewrite: str = "") -> Source:
    return Source(upstream, frozenset(endpoints or ("a", "b")), rewrite)


def test_a_version_keeps_its_prefix_while_it_is_the_same():
    cache = RouteCache(1000)
    first = cache.prefix("stable", source(), 0)
    assert cache.prefix("stable", source("u", "b", "c"), 0) == first
    assert cache.prefix("canary", source(), 0) != first
    assert cache.prefix("stable", source("v", "b", "c"), 0) != first
    second = cache.prefix("stable", source("v", "d"), 0)
    assert cache.prefix("stable", source("v", "d", rewrite="x"), 0) != second


def test_a_version_that_left_and_returned_begins_anew():
    cache = RouteCache(1000)
    first = cache.prefix("canary", source(), 0)
    cache.leave(frozenset({"stable"}))
    assert cache.prefix("canary", source(), 0) != first


def test_changes_are_remembered_within_bounds_and_then_taken_for_granted():
    cache = RouteCache(1000)
    for at in range(5000):
        cache.invalidate([b"v "], b"%d" % at, float(at))
    assert cache.changed_since(b"4999", 4999.0)
    assert not cache.changed_since(b"4999", 4999.5)
    assert not cache.changed_since(b"other", 4000.0)
    assert cache.changed_since(b"other", 100.0)
