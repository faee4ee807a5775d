import pytest

from proxy.core.cookies import Kept, UnitCookies, new_id, set_cookie_line, sign, sign_record, verify, verify_record

OLD, NEW = b"old key", b"new key"


def test_signed_value_is_id_dot_signature_and_a_fact() -> None:
    assert sign(b"key", b"abc") == b"abc.cW7TB2Qkzl2OxneiLx86_Q"


def test_any_key_verifies_and_the_first_signs() -> None:
    assert verify([NEW, OLD], sign(OLD, b"abc")) == b"abc"
    assert verify([NEW], sign(OLD, b"abc")) is None
    value, cookie = UnitCookies([NEW, OLD]).mint(bytes(16))
    assert verify([NEW], cookie) == value


@pytest.mark.parametrize(
    "cookie",
    [b"", b".", b"abc", b"abc.", b"abc.short", b".%b", b"ab c.%b", b"%b", b"x" * 65 + b".%b", b"abd.%b", b"abc.%b="],
)
def test_forged_and_malformed_cookies_do_not_verify(cookie: bytes) -> None:
    signature = sign(NEW, b"abc").partition(b".")[2]
    assert verify([NEW], cookie.replace(b"%b", signature)) is None


def test_every_changed_character_of_a_cookie_is_noticed() -> None:
    cookie = sign(NEW, b"abc")
    for place in range(len(cookie)):
        # The last character carries 2 bits of signature; the changed ones compare as text, so no spelling is skipped.
        other = b"A" if cookie[place : place + 1] != b"A" else b"B"
        assert verify([NEW], cookie[:place] + other + cookie[place + 1 :]) is None


def test_without_keys_nothing_verifies_and_nothing_is_minted() -> None:
    cookies = UnitCookies([])
    assert not cookies.enabled
    assert cookies.verify(sign(NEW, b"abc")) is None
    with pytest.raises(ValueError, match="key"):
        cookies.mint(bytes(16))


def test_id_wants_sixteen_bytes_of_entropy() -> None:
    assert new_id(bytes(range(16))) == b"AAECAwQFBgcICQoLDA0ODw"
    with pytest.raises(ValueError, match="16 random bytes"):
        new_id(bytes(15))


@pytest.mark.parametrize("value", [b"", b"a.b", b"a b", b"a;b", b"x" * 65])
def test_what_is_no_id_is_not_signed(value: bytes) -> None:
    with pytest.raises(ValueError, match="base64url"):
        sign(NEW, value)


def test_set_cookie_line_is_whole() -> None:
    assert set_cookie_line(b"tg_unit", b"a.b", False) == (
        b"set-cookie: tg_unit=a.b; Path=/; HttpOnly; SameSite=Lax; Max-Age=34560000\r\n"
    )
    assert set_cookie_line(b"tg_unit", b"a.b", True).endswith(b"; Max-Age=34560000; Secure\r\n")


def test_remembered_cookies_are_bounded_and_forged_ones_are_not_among_them() -> None:
    cookies = UnitCookies([NEW])
    good = sign(NEW, b"good")
    assert cookies.verify(good) == b"good"
    for number in range(5000):
        assert cookies.verify(b"forged-%d.AAAAAAAAAAAAAAAAAAAAAA" % number) is None
    assert list(cookies._known) == [good]
    for number in range(5000):
        cookies.verify(sign(NEW, b"%d" % number))
    assert len(cookies._known) <= 4096
    assert cookies.verify(good) == b"good"


def test_record_is_version_epoch_time_and_signature_and_a_fact() -> None:
    cookie = sign_record(NEW, b"scope", b"unit", Kept(b"v1.2", 3, 17))
    assert cookie == b"v1.2.3.17.QNFT7iA2VgK-5AmOWvGBUA"
    kept = verify_record([OLD, NEW], b"scope", b"unit", cookie)
    assert kept is not None
    assert (kept.version, kept.epoch, kept.at) == (b"v1.2", 3, 17)
    assert verify_record([OLD], b"scope", b"unit", cookie) is None


@pytest.mark.parametrize("kept", [Kept(b"", 0, 0), Kept(b"a b", 0, 0), Kept(b"v", -1, 0), Kept(b"v", 0, 10**12)])
def test_what_is_no_record_is_not_signed(kept: Kept) -> None:
    with pytest.raises(ValueError, match="a record is of"):
        sign_record(NEW, b"", b"", kept)


def test_without_keys_no_record_is_signed_or_believed() -> None:
    cookies = UnitCookies([])
    with pytest.raises(ValueError, match="wants a key"):
        cookies.keep(b"s", b"u", Kept(b"v", 0, 1))
    assert cookies.record(b"s", b"u", sign_record(b"", b"s", b"u", Kept(b"v", 0, 1))) is None


@pytest.mark.parametrize("unit", [b"", b"u", b"u" * 300])
def test_record_is_believed_again_and_for_no_other_unit(unit: bytes) -> None:
    cookies = UnitCookies([NEW])
    cookie = cookies.keep(b"s", unit, Kept(b"v", 0, 1))
    for _ in range(2):
        kept = cookies.record(b"s", unit, cookie)
        assert kept is not None
        assert kept.version == b"v"
        assert cookies.record(b"s", unit + b"x", cookie) is None


def test_cookie_of_a_session_has_no_age_and_one_that_is_taken_back_has_none_left() -> None:
    assert set_cookie_line(b"c", b"v", True, 0) == b"set-cookie: c=v; Path=/; HttpOnly; SameSite=Lax; Secure\r\n"
    assert b"; Max-Age=0\r\n" in set_cookie_line(b"c", b"", False, -1)
