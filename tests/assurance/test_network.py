"""The short form of ``./tools/assure network``."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from dpe_coap.errors import LocalError
from dpe_tools.server_process import ServerProcess
from tests.assurance import network
from tests.assurance.crowd import open_state
from tests.assurance.network import Hosts, make_bad, measure, namespaces
from tests.conftest import missing


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    with ExitStack() as stack:
        try:
            made = stack.enter_context(namespaces())
        except LocalError as error:
            missing(f"no network namespaces: {error}")
        yield made


@pytest.mark.timeout(480)
def test_devices_register_over_a_bad_network_between_two_hosts(hosts: Hosts, tmp_path: Path) -> None:
    row = measure(hosts, 0.2, tmp_path, registrations=80, at_once=80, seed=1)
    assert row.faults == []
    assert row.registered == 80
    assert row.requests >= row.registered >= row.first_time
    assert row.datagrams["retransmitted"] > 20
    if not hosts.netem:
        assert all(row.datagrams["faults"][kind] for kind in ("lost", "doubled", "delayed", "damaged"))


def test_the_kernel_takes_the_faults_or_has_no_netem(hosts: Hosts) -> None:
    try:
        assert make_bad(replace(hosts, netem=True), 0.2) == []
    except LocalError as error:
        assert not hosts.netem
        assert "qdisc kind is unknown" in str(error), "tc does not understand the command"


def test_a_store_that_disagrees_is_a_fault(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server serves another directory than the one that the devices are compared with."""
    other = open_state(tmp_path)

    class Elsewhere(ServerProcess):
        def __init__(self, state: Path, log: Path, **options: object) -> None:
            copy = tmp_path / "copy"
            copy.mkdir(mode=0o700)
            for path in state.iterdir():
                (copy / path.name).write_bytes(path.read_bytes())
                (copy / path.name).chmod(0o600)
            super().__init__(copy, log, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(network, "ServerProcess", Elsewhere)
    monkeypatch.setattr(network, "open_state", lambda _: other)
    row = measure(hosts, 0.0, tmp_path, registrations=4, at_once=4, seed=1)
    assert row.faults == ["1 devices: missing"]
