import pytest

from proxy.core.cookies import UnitCookies, new_id, set_cookie_line, sign, verify

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
