"""The way of devices to several nodes."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from dpe_tools.cluster.balancer import KNOWN, Balancer
from dpe_tools.load.network import Endpoint, Received


@pytest.fixture
def nodes() -> Iterator[list[socket.socket]]:
    """Two sockets that stand for nodes."""
    with ExitStack() as stack:
        made = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for one in made:
            one.bind(("127.0.0.1", 0))
            one.settimeout(30)
        yield made


def _endpoint(balancer: Balancer, number: int) -> Endpoint:
    endpoint = balancer.lease(number)
    endpoint.holder = SimpleNamespace(device=SimpleNamespace(number=number))
    return endpoint


def test_a_device_stays_at_its_node_until_that_is_out(nodes: list[socket.socket]) -> None:
    with Balancer([one.getsockname() for one in nodes]) as balancer:
        assert [balancer.node_of(number) for number in range(4)] == [0, 1, 0, 1]
        balancer.out.add(1)
        assert [balancer.node_of(number) for number in range(4)] == [0, 0, 0, 0]
        balancer.out.add(0)
        assert [balancer.node_of(number) for number in range(4)] == [0, 1, 0, 1], "somebody must hear them"


def test_the_nodes_see_the_devices_and_the_devices_one_address(nodes: list[socket.socket]) -> None:
    with Balancer([one.getsockname() for one in nodes]) as balancer:
        assert balancer.peer == KNOWN
        first, second = _endpoint(balancer, 0), _endpoint(balancer, 1)
        balancer.send(first, b"of device 0")
        balancer.send(second, b"of device 1")
        for number, node in enumerate(nodes):
            datagram, sender = node.recvfrom(100)
            assert datagram == b"of device %d" % number
            assert sender[0] == f"127.1.0.{number}"
            node.sendto(b"answer", sender)
        balancer.send_to(1, first, b"again")
        datagram, sender = nodes[1].recvfrom(100)
        nodes[1].sendto(b"of another node", sender)
        received: list[Received] = []
        while len(received) < 3:
            received += balancer.receive(balancer.sockets)
        senders = {(one.endpoint, one.datagram): one.sender for one in received}
        assert senders == {
            (first, b"answer"): KNOWN,
            (second, b"answer"): KNOWN,
            (first, b"of another node"): nodes[1].getsockname(),
        }
