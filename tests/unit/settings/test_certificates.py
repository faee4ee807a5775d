"""Certificates are tried when the configuration is loaded, and stamped."""

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from proxy.settings import SettingsError, load

TEXT = """\
listen: [{address: 0.0.0.0:8443, tls: {certificates: [{hosts: [x.org], certificate: a.pem, key: a.key}]}}]
upstreams: {a: {endpoints: [https://x.org], tls: {ca: a.pem, certificate: a.pem, key: a.key, server_name: y.org}}}
routes: [{name: r, versions: {v: {upstream: a}}}]
"""


def make_pair(directory: Path, name: str, password: bytes | None = None) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    (directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )


@pytest.fixture
def main(tmp_path: Path) -> Path:
    (tmp_path / "main.yaml").write_text(TEXT)
    make_pair(tmp_path, "a")
    return tmp_path / "main.yaml"


def failure(main: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(main, {})
    return [problem.message for problem in caught.value.problems]


def test_a_certificate_stands_in_the_spec_with_whole_paths_and_a_stamp(main: Path) -> None:
    loaded = load(main, {})
    (certificate,) = loaded.spec["listeners"][0]["tls"]["certificates"]
    stamp = certificate.pop("stamp")
    assert certificate == {
        "hosts": ["x.org"],
        "certificate": str(main.parent / "a.pem"),
        "key": str(main.parent / "a.key"),
    }
    assert len(stamp) == 64
    (upstream,) = loaded.spec["upstreams"]
    assert upstream["tls"]["ca"] == str(main.parent / "a.pem")
    assert upstream["endpoints"][0]["server_name"] == "y.org"
    assert main.parent / "a.key" in loaded.files


def test_a_renewed_certificate_changes_the_stamp(main: Path) -> None:
    before = load(main, {}).spec
    make_pair(main.parent, "a")
    after = load(main, {}).spec
    assert before["listeners"] != after["listeners"]
    assert before["upstreams"] != after["upstreams"]


def test_a_key_of_another_certificate_is_told(main: Path) -> None:
    good = (main.parent / "a.pem").read_bytes()
    make_pair(main.parent, "a")
    (main.parent / "a.pem").write_bytes(good)
    assert failure(main) == ["the key in a.key does not belong to the certificate"] * 2


def test_an_encrypted_key_is_told_and_nobody_is_asked_for_a_password(main: Path) -> None:
    make_pair(main.parent, "a", b"secret")
    assert failure(main) == ["is not a PEM certificate with the key in a.key (which must not be encrypted)"] * 2


def test_a_directory_for_a_certificate_is_told(main: Path) -> None:
    (main.parent / "a.key").unlink()
    (main.parent / "a.key").mkdir()
    assert failure(main) == [f"{main.parent}/a.key cannot be read: Is a directory"] * 2
