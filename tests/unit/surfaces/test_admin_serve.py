import asyncio
import socket
import ssl

import aiohttp
import pytest

from proxy.surfaces.admin.guard import Token
from proxy.surfaces.admin.serve import AdminError, AdminSettings, is_local, split_address, start_admin
from tests.unit.surfaces.admin_state import stand_in


def serve(settings, probe):
    """Start on `settings`, await probe(servers), close."""

    async def run(state):
        servers = await start_admin(state, settings)
        try:
            return await probe(servers)
        finally:
            await servers.close()

    with stand_in() as state:
        return asyncio.run(run(state))


def test_both_ports_answer_and_only_the_admin_port_has_the_api():
    async def probe(servers):
        async with aiohttp.ClientSession() as session:
            statuses = []
            for port in ("admin", "metrics"):
                for path in ("/readyz", "/api/v1/config"):
                    async with session.get(f"http://{servers.addresses[port]}{path}") as response:
                        statuses.append(response.status)
            return statuses

    settings = AdminSettings(address="127.0.0.1:0", metrics="127.0.0.1:0")
    assert serve(settings, probe) == [200, 200, 200, 404]


def test_a_compressed_body_is_refused_and_nothing_fails_of_it(caplog):
    async def probe(servers):
        host, _, port = servers.addresses["admin"].rpartition(":")
        got = []
        for token in ("the admin's token", "wrong"):
            reader, writer = await asyncio.open_connection(host, int(port))
            fields = f"Authorization: Bearer {token}\r\nContent-Encoding: gzip\r\nContent-Type: application/json"
            writer.write(
                f"POST /api/v1/x HTTP/1.1\r\nHost: a\r\n{fields}\r\nContent-Length: 8\r\n\r\nnot gzip".encode()
            )
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            got.append((await asyncio.wait_for(reader.read(), 5)).split()[1])
            writer.close()
        return got

    settings = AdminSettings(address="127.0.0.1:0", tokens=(Token("the admin's token"),))
    assert serve(settings, probe) == [b"400", b"401"]
    assert not caplog.records


def test_a_unix_socket_works_and_a_stale_one_is_replaced(tmp_path):
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    async def probe(servers):
        connector = aiohttp.UnixConnector(str(path))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/healthz") as response,
        ):
            return servers.addresses["admin"], response.status

    assert serve(AdminSettings(address=f"unix:{path}"), probe) == (f"unix:{path}", 200)


def test_closed_ports_stay_closed():
    async def probe(servers):
        return servers.addresses

    assert serve(AdminSettings(address=None), probe) == {}


def test_a_taken_port_is_a_clear_error_and_leaves_none_open():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AdminError, match=rf"the metrics port cannot listen on {address}: .*in use"):
            serve(AdminSettings(address="127.0.0.1:0", metrics=address), None)


def test_a_port_for_all_wants_tokens():
    with pytest.raises(AdminError, match="has no tokens"):
        serve(AdminSettings(address="0.0.0.0:0"), None)


def test_a_certificate_that_cannot_be_used_is_a_clear_error(tmp_path):
    missing = str(tmp_path / "none.pem")
    with pytest.raises(AdminError, match=r"certificate .*none\.pem"):
        serve(AdminSettings(address="127.0.0.1:0", tls=(missing, missing), tokens=[Token("t")]), None)


def test_tls_answers(tmp_path):
    certificate, key = self_signed(tmp_path)

    async def probe(servers):
        context = ssl.create_default_context(cafile=str(certificate))
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"https://{servers.addresses['admin']}/healthz", ssl=context) as response,
        ):
            return response.status

    assert serve(AdminSettings(address="127.0.0.1:0", tls=(str(certificate), str(key))), probe) == 200


@pytest.mark.parametrize("address", ["", "9901", "host:", "host:x", "host:70000", "host:²"])
def test_what_is_no_address_is_said(address):
    with pytest.raises(AdminError, match="is not an address"):
        split_address(address)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1:1", True), ("127.8.8.8:1", True), ("[::1]:1", True), ("localhost:1", True), ("unix:/x", True),
        ("0.0.0.0:1", False), ("[::]:1", False), (":1", False), ("10.0.0.1:1", False), ("admin.example:1", False),
    ],
)  # fmt: skip
def test_who_can_reach_an_address(address, local):
    assert is_local(address) is local


def self_signed(folder):
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=10))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(private, hashes.SHA256())
    )
    certificate, key = folder / "c.pem", folder / "k.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost", b""),
        (
            b"POST /api/v1/faults/kill HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%b\r\n{"
            % b"Content-Type: application/json\r\nContent-Length: 9\r\n",
            b"HTTP/1.1 408 ",
        ),
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_who_comes_and_says_no_more_is_let_go(monkeypatch, sent, answer):
    monkeypatch.setattr("proxy.surfaces.admin.serve.IDLE_LIMIT", 0.05)
    monkeypatch.setattr("proxy.surfaces.admin.guard.BODY_LIMIT", 0.05)

    async def probe(servers):
        host, port = split_address(servers.addresses["admin"])
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        said = await asyncio.wait_for(reader.readline(), 5)
        writer.close()
        return said

    assert serve(AdminSettings(address="127.0.0.1:0"), probe).startswith(answer)


@pytest.mark.parametrize("path", ["faults/kill", "upstreams/u/endpoints/e/drain"])
@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({}, b"[" * 60_000),
        ({}, b'{"reason": "\xff"}'),
        ({"Content-Type": "application/json; charset=none"}, b"{}"),
        ({"Content-Encoding": "gzip"}, b"{}"),
    ],
    ids=["deep", "no UTF-8", "charset", "gzip"],
)
def test_a_body_that_cannot_be_read_is_the_callers_mistake(path, fields, body):
    async def probe(servers):
        async with aiohttp.ClientSession() as session:
            url = f"http://{servers.addresses['admin']}/api/v1/{path}"
            async with session.post(
                url, data=body, headers={"Content-Type": "application/json"} | fields, compress=None
            ) as response:
                return response.status

    assert serve(AdminSettings(address="127.0.0.1:0"), probe) == 400
