"""Listeners: what can be listened on, and what the message says when it cannot."""

import os
import socket

import pytest

from proxy.control.sockets import Listener, ListenError, bound_address, close_listeners, open_listeners


@pytest.fixture
def opened():
    held = []
    yield held
    close_listeners(held)


def answers(listener):
    family = listener.socket.family
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        client.connect(listener.socket.getsockname())
        return True


def test_an_internet_address(opened):
    opened += open_listeners(["127.0.0.1:0"])
    assert bound_address(opened[0]).startswith("127.0.0.1:")
    assert answers(opened[0])
    assert not opened[0].socket.getblocking()


def test_an_address_of_version_six_stands_beside_one_of_four(opened):
    opened += open_listeners(["127.0.0.1:0"])
    port = opened[0].socket.getsockname()[1]
    opened += open_listeners([f"[::1]:{port}"])
    assert bound_address(opened[1]) == f"[::1]:{port}"
    assert opened[1].socket.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_unix_socket_and_its_file_removed_at_the_end(tmp_path):
    path = tmp_path / "s"
    [listener] = open_listeners([f"unix:{path}"])
    assert bound_address(listener) == f"unix:{path}"
    assert answers(listener)
    close_listeners([listener], unlink=True)
    assert not path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path, opened):
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    opened += open_listeners([f"unix:{path}"])
    assert answers(opened[0])


def test_a_unix_socket_that_somebody_answers_at_is_left_alone(tmp_path, opened):
    path = tmp_path / "s"
    opened += open_listeners([f"unix:{path}"])
    with pytest.raises(ListenError, match="in use: another process answers there"):
        open_listeners([f"unix:{path}"])
    assert answers(opened[0])


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(ListenError, match="exists and is no socket"):
        open_listeners([f"unix:{path}"])
    assert path.read_text() == "precious"


def test_an_inherited_socket(opened):
    with socket.socket() as given:
        given.bind(("127.0.0.1", 0))
        opened += open_listeners([f"fd:{given.fileno()}"])
    assert answers(opened[0])


def test_an_inherited_descriptor_that_is_no_socket():
    read, write = os.pipe()
    with pytest.raises(ListenError, match=f"listen: descriptor {read} is no socket .*systemd"):
        open_listeners([f"fd:{read}"])
    os.close(read)
    os.close(write)


def test_an_address_in_use_names_the_key_and_the_remedy(opened):
    opened += open_listeners(["127.0.0.1:0"])
    taken = bound_address(opened[0])
    with pytest.raises(ListenError, match=rf"listen\[1\]: cannot listen on {taken}: .* in use; `ss -ltnp"):
        open_listeners(["127.0.0.1:0", taken])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("192.0.2.1:0", "no interface of this machine has the address"),
        ("127.0.0.1:99999", "ports end at 65535"),
        ("no-such-host.invalid:80", "is no address to listen on"),
        ("unix:/no/such/directory/s", "the directory does not exist"),
    ],
)
def test_addresses_that_cannot_be_listened_on(address, message):
    with pytest.raises(ListenError, match=message):
        open_listeners([address])


def test_sockets_that_were_taken_over_are_used_again(opened):
    opened += open_listeners(["127.0.0.1:0"])
    held = [Listener("localhost:80", opened[0].socket)]
    found = open_listeners(["localhost:80", "127.0.0.1:0"], held)
    opened.append(found[1])
    assert found[0] is held[0]
