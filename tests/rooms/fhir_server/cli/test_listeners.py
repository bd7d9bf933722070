"""The listening sockets of the HTTP workers."""

from __future__ import annotations

import socket
import sys

import pytest

from fhir_server.cli.command import Refused
from fhir_server.cli.listeners import Group

linux = pytest.mark.skipif(sys.platform != "linux", reason="a group that is steered is a thing of Linux")


@pytest.fixture
def group():
    made = Group("127.0.0.1", 0, "--port", 3, 0.0)
    yield made
    made.close()


def taken(group, count=60):
    """Connect so often; return how many connections wait at each socket."""
    clients = [socket.create_connection(("127.0.0.1", group.port)) for _ in range(count)]
    found = []
    for worker in range(3):
        listener = socket.socket(fileno=group.fileno(worker))
        number = 0
        try:
            while True:
                listener.accept()[0].close()
                number += 1
        except BlockingIOError:
            found.append(number)
        finally:
            listener.detach()
    for client in clients:
        client.close()
    return found


@linux
def test_every_worker_gets_connections(group):
    found = taken(group)
    assert sum(found) == 60
    assert min(found) > 0  # by chance one in 10^10 runs


@linux
def test_who_is_down_gets_none_until_he_is_back(group):
    group.is_up(1, False)
    assert taken(group)[1] == 0
    group.is_up(2, False)
    assert taken(group) == [60, 0, 0]
    group.is_up(1, True)
    group.is_up(2, True)
    assert min(taken(group)) > 0


@linux
def test_with_all_down_connections_wait_and_are_not_refused(group):
    for worker in range(3):
        group.is_up(worker, False)
    assert sum(taken(group)) == 60


def test_nobody_else_gets_into_the_group(group):
    """SO_REUSEPORT alone would let a second server of the same user in, and share the clients with it."""
    with pytest.raises(Refused, match=rf"port {group.port} .* cannot be used .* another with --port"):
        Group("127.0.0.1", group.port, "--port", 2, 0.0)


def test_a_port_that_another_has_is_refused():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=rf"port {port} on 127\.0\.0\.1 cannot be used"):
            Group("127.0.0.1", port, "--port", 2, 0.0)


def test_an_address_of_nobody_is_refused():
    with pytest.raises(Refused, match="no address of this machine"):
        Group("no.such.host.invalid", 0, "--port", 2, 0.0)
