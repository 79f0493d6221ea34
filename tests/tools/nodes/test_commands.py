"""Operators' commands at one node, and what they do to devices of another one, whose server runs."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg

from dpe_server.operation import journal
from dpe_server.operation.state_dir import StateDir
from dpe_server.store.contract import End, Forget, OverridePolicies, RestrictEpoch, Revoke, SetMinimumEpoch, Unrevoke
from tests.postgresql import Cluster
from tests.postgresql_proxy import SOCKET, proxy
from tests.tools.conftest import IMEI, Invoke


def holder(dpe: Invoke, state: Path) -> str:
    ((one),) = json.loads(dpe("sessions", state, "--json").stdout)
    return str(one["client_id"])


def acts(state: Path) -> list[type]:
    return [type(measure) for measure in journal.read([StateDir.open(state).journal_path])]


def test_a_session_is_listed_shown_and_ended(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    dpe("session", "report", device, "battery=86")
    client_id = holder(dpe, first)
    assert client_id == holder(dpe, second)
    shown = json.loads(dpe("device", "show", first, client_id, "--json").stdout)
    assert (shown["imei"], shown["properties"]["battery"]["value"]) == (IMEI, 86)
    assert client_id in dpe("device", "keys", first, client_id, "--format", "libcoap").stdout
    assert dpe("sessions", "end", first, client_id).stdout == "1 session ended\n"
    assert dpe("sessions", "list", second, "--count").stdout == "0\n"
    dpe("session", "report", device, "battery=85", status=4)
    assert (acts(first), acts(second)) == ([End], [])


def test_a_device_is_revoked_at_one_node_and_let_in_at_another(
    dpe: Invoke, first: Path, second: Path, device: Path
) -> None:
    assert dpe("revoke", first, IMEI).stdout == "revoked: 1 device, 1 session ended\n"
    dpe("session", "report", device, "battery=86", status=4)
    dpe("register", device, status=4)
    assert "the device is revoked" in dpe("policy", "explain", second, "--imei", IMEI, "--version", "1.0").stdout
    assert dpe("unrevoke", second, IMEI).stdout == "revocation lifted: 1 device\n"
    dpe("register", device)
    assert (acts(first), acts(second)) == ([Revoke], [Unrevoke])


def test_epochs_are_retired_for_all_nodes(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    dpe("revoke", first, IMEI, "--below-epoch", 2)
    assert "reprovision" in dpe("register", device, status=4).stderr
    dpe("unrevoke", second, IMEI, "--below-epoch")
    dpe("register", device)
    dpe("keys", "minimum-epoch", first, 1)
    assert json.loads(dpe("keys", "list", second, "--json").stdout)["minimum_epoch"] == 1
    assert (acts(first), acts(second)) == ([RestrictEpoch, SetMinimumEpoch], [RestrictEpoch])


def test_a_device_reports_by_policies_that_were_set_at_another_node(
    dpe: Invoke, first: Path, second: Path, device: Path, tmp_path: Path
) -> None:
    (tmp_path / "report.toml").write_text("[report]\nsignal = { lt = -100 }\n")
    client_id = holder(dpe, first)
    dpe("policy", "set", first, client_id, tmp_path / "report.toml")
    told = json.loads(dpe("session", "report", device, "battery=1", "--json").stdout)
    assert told["policies"] == {"signal": {"lt": -100}}
    assert "cleared" in dpe("policy", "clear", second, client_id).stdout
    told = json.loads(dpe("session", "report", device, "battery=1", "--json").stdout)
    assert "battery" in told["policies"]
    assert (acts(first), acts(second)) == ([OverridePolicies], [OverridePolicies])


def test_a_device_is_forgotten(dpe: Invoke, first: Path, second: Path, device: Path) -> None:
    assert dpe("device", "forget", first, holder(dpe, first)).stdout == "forgotten: its session has ended\n"
    assert "it had no session" in dpe("device", "forget", second, "--imei-stdin", stdin=f"{IMEI}\n").stdout
    assert (acts(first), acts(second)) == ([Forget], [Forget])


@contextmanager
def follower(state: Path) -> Iterator[tuple[subprocess.Popen[str], Iterator[Any]]]:
    """What `dpe properties --follow` tells from now on; it is ended by Ctrl-C."""
    command = [sys.executable, "-m", "dpe_tools", "properties", str(state), "--follow", "--interval", "0.05", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = iter(map(json.loads, process.stdout))
        assert next(told) == {"snapshot": "begin"}
        assert next(told)["snapshot"] == "end"
        yield process, told
        process.send_signal(signal.SIGINT)
        process.communicate()
    assert process.returncode == 0


def test_what_devices_report_at_one_node_is_followed_at_another(dpe: Invoke, first: Path, device: Path) -> None:
    with follower(first) as (_, told):
        dpe("session", "report", device, "battery=86")
        one = next(told)
        assert one["properties"]["battery"]["value"] == 86
        dpe("sessions", "end", first, one["client_id"])
        other = next(told)
        assert (other["client_id"], other["ended"]) == (one["client_id"], True)
    since = dpe("properties", first, "--since", one["cursor"], "--json").stdout.splitlines()
    assert [json.loads(line) for line in since] == [other]


def test_a_change_is_withheld_while_one_with_a_lower_number_may_come(
    dpe: Invoke, first: Path, second: Path, device: Path, url: str
) -> None:
    cursor = json.loads(dpe("properties", first, "--json").stdout.splitlines()[-1])["cursor"]

    def since(state: Path) -> list[Any]:
        return [json.loads(line) for line in dpe("properties", state, "--since", cursor, "--json").stdout.splitlines()]

    with follower(first) as (_, told), closing(psycopg.connect(url)) as other:
        other.execute("INSERT INTO change SELECT pg_current_xact_id()::text::int8, 1, '', '1234567'")
        dpe("session", "report", device, "battery=86")
        assert since(first) == since(second) == []
        other.commit()
        ended, reported = next(told), next(told)
        assert (ended["client_id"], ended["ended"]) == (b"1234567".hex(), True)
        assert reported["properties"]["battery"]["value"] == 86
        assert since(second) == [ended, reported]


def test_who_follows_waits_for_a_database_that_is_away(
    dpe: Invoke, first: Path, device: Path, postgresql: Cluster, url: str, tmp_path: Path
) -> None:
    away, config = tmp_path / "away", first / "config.toml"
    away.mkdir()
    through = url.replace(quote(str(postgresql.folder), safe=""), quote(str(away), safe=""))
    assert through != url
    config.write_text(config.read_text().replace(url, through))
    with ExitStack() as stack:
        with proxy(away, postgresql.folder):
            process, told = stack.enter_context(follower(first))
        assert process.stderr is not None
        assert (
            process.stderr.readline() == "dpe: warning: nobody listens at the database's host and port; trying again\n"
        )
        dpe("session", "report", device, "battery=86")
        (away / SOCKET).unlink()
        with proxy(away, postgresql.folder):
            assert next(told)["properties"]["battery"]["value"] == 86


def test_what_is_of_a_file_alone_is_said(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    assert "PostgreSQL's own tools" in dpe("backup", first, tmp_path / "copy", status=1).stderr
    assert not (tmp_path / "copy").exists()
