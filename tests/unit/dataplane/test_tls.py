"""Certificates by SNI, swapped while a listener lives, and upstreams verified; handshakes in memory."""

import ssl
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.tls import Terminator
from proxy.trust import client_context
from tests.unit.dataplane.certificates import Authority


def entry(authority: Authority, *hosts: str, stamp: str = "1", file: str = "") -> dict[str, Any]:
    certificate, key = authority.certify(*hosts, file=file)
    return {"hosts": list(hosts), "certificate": certificate, "key": key, "stamp": stamp}


def listening(*certificates: dict[str, Any], minimum: str = "1.2") -> dict[str, Any]:
    return {"certificates": list(certificates), "minimum": minimum}


def shake(server: ssl.SSLContext, client: ssl.SSLContext, name: str | None) -> ssl.SSLObject:
    """A whole handshake; the client's end of it. Raises ssl.SSLError as the client sees it."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(10):
        done = 0
        for end in (near, far):
            try:
                end.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            break
    return near


def trusting(authority: Authority, *, check: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.path))
    context.check_hostname = check
    return context


def shown(terminator: Terminator, authority: Authority, name: str | None) -> str:
    """The first host of the certificate that a client gets who asks for `name`."""
    end = shake(terminator.context, trusting(authority, check=False), name)
    certificate = end.getpeercert()
    assert certificate is not None
    return str(certificate["subjectAltName"][0][1])


def test_certificate_is_chosen_by_the_name_asked_for(authority: Authority) -> None:
    terminator = Terminator(
        listening(
            entry(authority, "first.example"), entry(authority, "Shop.example"), entry(authority, "*.wild.example")
        )
    )
    assert shown(terminator, authority, "shop.example") == "Shop.example"
    assert shown(terminator, authority, "SHOP.example") == "Shop.example"
    assert shown(terminator, authority, "a.wild.example") == "*.wild.example"


@pytest.mark.parametrize("name", [None, "unknown.example", "wild.example", "a.b.wild.example"])
def test_first_certificate_is_shown_to_everybody_else(authority: Authority, name: str | None) -> None:
    terminator = Terminator(listening(entry(authority, "first.example"), entry(authority, "*.wild.example")))
    assert shown(terminator, authority, name) == "first.example"


def test_exact_name_beats_a_wildcard(authority: Authority) -> None:
    terminator = Terminator(listening(entry(authority, "*.wild.example"), entry(authority, "a.wild.example")))
    assert shown(terminator, authority, "a.wild.example") == "a.wild.example"
    assert shown(terminator, authority, "b.wild.example") == "*.wild.example"


def test_new_certificates_are_for_the_handshakes_to_come(authority: Authority) -> None:
    old = entry(authority, "a.example", file="old")
    terminator = Terminator(listening(old))
    context = terminator.context
    terminator.update(listening(entry(authority, "b.example", "a.example", file="new", stamp="2")))
    assert terminator.context is context
    for name in ("a.example", "b.example", None):
        assert shown(terminator, authority, name) == "b.example"


def test_contents_that_changed_are_read_again_and_others_are_not(authority: Authority) -> None:
    spec = listening(entry(authority, "a.example", file="same"), entry(authority, "c.example", file="stays"))
    terminator = Terminator(spec)
    authority.certify("b.example", file="same")
    terminator.update(spec)
    assert shown(terminator, authority, "a.example") == "a.example"
    Path(spec["certificates"][1]["certificate"]).unlink()
    spec["certificates"][0]["stamp"] = "2"
    terminator.update(spec)
    assert shown(terminator, authority, "a.example") == "b.example"
    assert shown(terminator, authority, "c.example") == "c.example"


def test_certificates_that_cannot_be_used_change_nothing(authority: Authority, tmp_path: Path) -> None:
    terminator = Terminator(listening(entry(authority, "a.example")))
    broken = entry(authority, "b.example") | {"key": str(tmp_path / "missing")}
    with pytest.raises(OSError, match="No such file"):
        terminator.update(listening(entry(authority, "c.example"), broken))
    assert shown(terminator, authority, "c.example") == "a.example"
    mixed = entry(authority, "d.example") | {"key": entry(authority, "e.example")["key"]}
    with pytest.raises(ssl.SSLError):
        terminator.update(listening(mixed))
    assert shown(terminator, authority, "d.example") == "a.example"


@pytest.mark.parametrize(("minimum", "fine"), [("1.2", True), ("1.3", False)])
def test_least_version_holds(authority: Authority, minimum: str, fine: bool) -> None:
    terminator = Terminator(listening(entry(authority, "a.example"), minimum=minimum))
    old = trusting(authority)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    if fine:
        assert shake(terminator.context, old, "a.example").version() == "TLSv1.2"
    else:
        with pytest.raises(ssl.SSLError):
            shake(terminator.context, old, "a.example")


def test_only_http_1_is_offered(authority: Authority) -> None:
    terminator = Terminator(listening(entry(authority, "a.example")))
    context = trusting(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert shake(terminator.context, context, "a.example").selected_alpn_protocol() == "http/1.1"


# Towards upstreams.


def test_upstream_is_verified_against_its_own_authority(authority: Authority) -> None:
    server = Terminator(listening(entry(authority, "up.example"))).context
    context = client_context({"ca": str(authority.path)})
    assert shake(server, context, "up.example").version() is not None
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(server, context, "other.example")


def test_upstream_of_an_unknown_authority_is_refused(authority: Authority) -> None:
    server = Terminator(listening(entry(authority, "up.example"))).context
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(server, client_context(None), "up.example")


def test_client_certificate_is_shown_to_an_upstream_that_wants_one(authority: Authority) -> None:
    server = Terminator(listening(entry(authority, "up.example"))).context
    server.sni_callback = None
    server.load_verify_locations(str(authority.path))
    server.verify_mode = ssl.CERT_REQUIRED
    certificate, key = authority.certify("tidegate.example")
    spec = {"ca": str(authority.path), "certificate": certificate, "key": key}
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client_context(spec).wrap_bio(down, up, server_hostname="up.example")
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    got = far.getpeercert()
    assert got is not None
    assert got["subjectAltName"] == (("DNS", "tidegate.example"),)


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        client_context({"ca": str(tmp_path / "missing")})
