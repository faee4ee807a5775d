"""Laws of the cache: freshness is one-sided, restrictions only restrict, and the store keeps its bounds."""

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.cache_control import ABSENT, LONGEST, CacheControl
from proxy.core.cache_store import CacheStore, Stored
from proxy.core.dates import format_date, parse_date
from proxy.core.freshness import ASK, HIT, STALE, CachePolicy, Terms, judge, serves_for_error, terms_of, variant_of
from proxy.core.validators import freshened, name_of, not_modified

NOW = 1_795_000_000.0
SECONDS = st.integers(0, 10_000)
DIRECTIVES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "no-store",
                "no-cache",
                "private",
                "public",
                "must-revalidate",
                "proxy-revalidate",
                "must-understand",
                "x",
                "",
            ]
        ),
        st.builds(
            "{}={}".format,
            st.sampled_from(["max-age", "s-maxage", "stale-if-error", "stale-while-revalidate"]),
            SECONDS,
        ),
        st.builds(
            '{}="{}"'.format,
            st.sampled_from(["private", "no-cache", "max-age", "y"]),
            st.sampled_from(["", "a, b", "60"]),
        ),
    ),
    max_size=6,
)
ASKED = st.lists(
    st.one_of(
        st.sampled_from(["no-cache", "no-store", "max-stale", "only-if-cached"]),
        st.builds("{}={}".format, st.sampled_from(["max-age", "min-fresh", "max-stale"]), SECONDS),
    ),
    max_size=4,
)
POLICY = CachePolicy(
    {
        "size": 1 << 20, "object_limit": 1 << 16, "default_ttl": 7.0, "stale_while_revalidate": 30.0,
        "stale_if_error": 60.0, "max_ttl": 5000.0, "shared_cookies": False,
    },
        frozenset({b"tg"}),
)  # fmt: skip


def control(directives: list[str]) -> CacheControl:
    return CacheControl(", ".join(directives).encode())


def terms(directives: list[str], **fields: str) -> Terms | str:
    answer = {name.encode(): value.encode() for name, value in fields.items()} | {b"etag": b'"1"'}
    return terms_of(POLICY, b"GET", {}, 200, answer | {b"cache-control": ", ".join(directives).encode()}, NOW, 0.0)


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(value):
    found = CacheControl(value)
    assert all(
        ABSENT <= number <= LONGEST for number in (found.max_age, found.s_maxage, found.min_fresh, found.max_stale)
    )


@given(DIRECTIVES, st.randoms())
def test_the_order_of_directives_does_not_matter(directives, rng):
    mixed = directives.copy()
    rng.shuffle(mixed)
    one, two = control(directives), control(mixed)
    for name in ("no_store", "no_cache", "private", "public", "max_age", "s_maxage", "stale_if_error", "withheld"):
        assert getattr(one, name) == getattr(two, name)


@given(
    DIRECTIVES,
    st.sampled_from(["no-store", "private", "no-cache", "must-revalidate", "max-age=0", "s-maxage=0"]),
    SECONDS,
    ASKED,
)
def test_one_more_restriction_never_gives_more(directives, restriction, age, asked):
    before, after = terms(directives), terms([*directives, restriction])
    if isinstance(after, str):
        return
    if isinstance(before, str):
        # Only a lifetime of nothing, or the duty to ask, makes storable what named no lifetime at all.
        assert before == "expired" or restriction in ("max-age=0", "s-maxage=0", "no-cache", "must-revalidate")
        return
    if restriction == "s-maxage=0" or "s-maxage" in str(directives):
        return  # s-maxage replaces max-age, which may be shorter
    order = {HIT: 2, STALE: 1, ASK: 0}
    assert order[judge(after, age, control(asked))] <= order[judge(before, age, control(asked))]


@given(DIRECTIVES, SECONDS, SECONDS)
def test_what_is_stale_does_not_become_fresh_again(directives, age, more):
    found = terms(directives)
    if isinstance(found, Terms):
        plain = control([])
        order = {HIT: 2, STALE: 1, ASK: 0}
        assert order[judge(found, age + more, plain)] <= order[judge(found, age, plain)]
        assert serves_for_error(found, age) or not serves_for_error(found, age + more)


@given(DIRECTIVES, SECONDS, ASKED)
def test_strict_answers_are_never_given_stale(directives, age, asked):
    found = terms([*directives, "must-revalidate"])
    if isinstance(found, Terms) and age >= found.lifetime:
        assert judge(found, age, control(asked)) == ASK
        assert not serves_for_error(found, age)


@given(DIRECTIVES, st.integers(0, 10_000), st.integers(-5000, 5000))
def test_age_on_arrival_is_at_least_what_others_say(directives, stated, date):
    found = terms(directives, age=str(stated), date=format_date(NOW + date).decode())
    if isinstance(found, Terms):
        assert found.initial_age >= max(stated, -date, 0) - 1
        assert found.lifetime <= found.initial_age + POLICY.max_ttl


@given(st.integers(0, 4_000_000_000))
def test_dates_survive_the_way_there_and_back(seconds):
    assert parse_date(format_date(seconds), NOW) == seconds


@given(st.text(alphabet="SunMonNov 0123456789:,-GMT", max_size=40))
def test_dates_are_read_or_not_and_never_fail(text):
    assert parse_date(text.encode(), NOW) >= -1


@given(st.text(alphabet='W/"ab, *', max_size=20), st.sampled_from([b'"a"', b'W/"a"', b'"a,b"', b""]))
def test_a_copy_is_current_only_where_its_tag_is_named(wanted, tag):
    if not_modified({b"if-none-match": wanted.encode()}, tag, NOW, NOW):
        assert wanted == "*" or tag.removeprefix(b"W/") in wanted.encode()


NAMES = st.sampled_from([b"a", b"b", b"Content-Length", b"ETag", b"A"])
LINES = st.lists(st.builds(lambda name, value: name + b": " + value, NAMES, st.sampled_from([b"1", b"2"])), max_size=5)


@given(LINES, LINES)
def test_freshening_keeps_every_name_and_the_length(old, newer):
    found = freshened(old, newer)
    assert {name_of(line) for line in found} >= {name_of(line) for line in old}
    assert [line for line in found if name_of(line) == b"content-length"] == [
        line for line in old if name_of(line) == b"content-length"
    ]
    assert freshened(found, newer) == found


VARY = st.lists(st.sampled_from([b"accept", b"x-a"]), unique=True).map(sorted)
FIELDS = st.dictionaries(
    st.sampled_from([b"accept", b"x-a", b"x-b"]), st.sampled_from([b"", b"1", b"1, 2", b"1,2", b"1\nx-a:1"])
)


@given(VARY, FIELDS, FIELDS)
def test_variants_are_the_same_only_where_the_fields_are(vary, one, two):
    def plain(fields):
        return [None if (value := fields.get(name)) is None else value.replace(b" ", b"") for name in vary]

    if plain(one) == plain(two):
        assert variant_of(vary, one, b"") == variant_of(vary, two, b"")
    elif not any(b"\n" in value for value in (*one.values(), *two.values())):  # no head has one
        assert variant_of(vary, one, b"") != variant_of(vary, two, b"")


def stored(key: int, size: int, vary: int) -> Stored:
    names = [b"accept"] if vary else []
    found = Terms(50.0, 0.0, 0.0, 0.0, False, False, False, False, frozenset(), names)
    return Stored(
        b"%d" % key, b"accept:%d" % vary if vary else b"", "stable", 200, b"", bytes(size), b"", b"", -1.0, found, 0.0
    )


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "use", "remove", "uri", "resize"]),
            st.integers(0, 12),
            st.integers(0, 4000),
            st.integers(0, 2),
        ),
        max_size=60,
    )
)
def test_the_store_keeps_its_bounds_and_its_books(steps):
    store = CacheStore(20_000)
    known: dict[tuple[int, int], Stored] = {}
    for now, (step, key, size, vary) in enumerate(steps):
        fields = {b"accept": b"%d" % vary} if vary else {}
        found = store.find(b"%d" % key, fields, b"")
        if step == "put":
            one = stored(key, size, vary)
            for lost in store.put(one, float(now)):
                assert not lost.held
            known[key, vary] = one
            assert one.held == (one.size <= store.size)
        elif step == "use" and found is not None:
            store.used_again(found)
        elif step == "remove" and found is not None:
            store.remove(found)
        elif step == "uri":
            store.remove_uri(b"%d" % key)
            assert not store.knows(b"%d" % key)
        elif step == "resize":
            store.resize(size * 5, float(now))
        held = [one for one in known.values() if one.held]
        assert store.used == sum(one.size for one in held) <= store.size
        assert len(store) == len(held)
        for (at, which), one in known.items():
            if one.held and which:
                assert store.find(b"%d" % at, {b"accept": b"%d" % which}, b"") is not None
