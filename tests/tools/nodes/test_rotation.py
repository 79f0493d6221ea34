"""A new key for several nodes: added at one, taken by the others, and used when all have it."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from dpe_server.coap.subjects import Crowds
from dpe_server.keys import file as key_file
from dpe_server.net.udp import listen
from dpe_server.operation import nodes, rotation
from dpe_server.operation import server as server_file
from dpe_server.operation.state_dir import StateDir
from dpe_server.registration.ordinals import SequenceOrdinals
from dpe_server.store.opening import nodes_of
from dpe_tools.credentials import load
from tests.audit import until
from tests.end_to_end.running import running_on
from tests.tools.conftest import IMEI, Invoke


def keys(state: Path) -> bytes:
    return (state / "keys.json").read_bytes()


def listed(dpe: Invoke, state: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(dpe("keys", "list", state, "--json").stdout)
    return told


def standings(dpe: Invoke, state: Path) -> dict[str, str]:
    return {node["name"]: node["is"] for node in json.loads(dpe("nodes", state, "--json").stdout)}


def known(dpe: Invoke, state: Path) -> dict[str, set[str]]:
    return {node["name"]: set(node["keys"]) for node in json.loads(dpe("nodes", state, "--json").stdout)}


@pytest.mark.parametrize("kind", ["master", "handle"])
def test_a_key_is_used_when_all_nodes_have_it(dpe: Invoke, first: Path, second: Path, kind: str) -> None:
    name = "epoch" if kind == "master" else "handle_key"
    said = dpe("keys", "rotate", kind, first).stdout
    assert f"{kind} key 2 added; once it is active" in said
    assert "dpe keys take" in said
    assert f"dpe keys activate {kind} {first}" in said
    told = listed(dpe, first)
    assert (told[kind], told[name]) == ([1, 2], 1)
    assert "not active yet: 2" in dpe("keys", "list", first).stdout
    assert listed(dpe, second)[kind] == [1]

    refused = dpe("keys", "activate", kind, second, status=1).stderr
    assert f"nodes that have not loaded the {kind} key 2 yet: b\n" in refused
    assert "dpe keys take" in refused
    assert dpe("keys", "take", second, "-", stdin=keys(first)).stdout.startswith(f"taken: {kind} key 2\n")
    assert listed(dpe, second)[name] == 1

    assert f"{kind} key 2 is active: " in dpe("keys", "activate", kind, second).stdout
    assert [listed(dpe, state)[name] for state in (first, second)] == [2, 2]
    assert f"{kind} key 2 is active already: " in dpe("keys", "activate", kind, first).stdout
    assert StateDir.open(first).keys == StateDir.open(second).keys


def test_credentials_have_the_active_epoch(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    def epoch(file: str) -> int:
        dpe("provision", first, IMEI, "--file", tmp_path / file)
        return load(str(tmp_path / file)).epoch

    dpe("keys", "rotate", "master", first)
    assert epoch("before.cbor") == 1
    assert "new credentials get epoch 1" in dpe("keys", "minimum-epoch", first, 2, status=1).stderr
    dpe("keys", "activate", "master", first)
    assert epoch("after.cbor") == 2
    dpe("keys", "minimum-epoch", first, 2)


def test_a_server_uses_a_key_that_was_made_active_elsewhere(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "EVERY", 0.05)
    with running_on(StateDir.open(second)) as running:
        until(lambda: standings(dpe, first) == {"a": "new", "b": "running"})
        dpe("keys", "rotate", "handle", first)
        dpe("keys", "take", second, "-", stdin=keys(first))
        refused = dpe("keys", "activate", "handle", first, status=1).stderr
        assert "have not loaded the handle key 2 yet: b\n" in refused  # its file has it, and the server has not
        running.loop.run(running.server.reload())
        until(lambda: "handle key 2" in known(dpe, first)["b"])
        dpe("keys", "activate", "handle", first)
        until(lambda: "other keys are current" in [line["event"] for line in running.logs])
    assert standings(dpe, first)["b"] == "stopped"


def test_a_server_that_lacks_a_key_says_so_and_goes_on(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "EVERY", 0.05)
    with running_on(StateDir.open(second)) as running:
        dpe("keys", "rotate", "handle", first)
        monkeypatch.setattr(rotation, "waiting_for", lambda *_: [])  # as if it had been forgotten just now
        dpe("keys", "activate", "handle", first)
        until(lambda: [line for line in running.logs if "lacks the handle key 2" in line.get("reason", "")])
        dpe("keys", "take", second, "-", stdin=keys(first))
        running.loop.run(running.server.reload())
        assert running.server._keys.current_hkid == 2
    assert [line["event"] for line in running.logs].count("a key is missing, and devices are refused") == 1


def test_each_process_of_a_server_uses_an_active_key(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "EVERY", 0.05)

    async def run() -> None:
        sockets, _ = listen(["127.0.0.1:0"])
        worker = server_file.Worker(1, sockets, SequenceOrdinals(), Crowds())
        async with server_file.Server(second, worker=worker) as server:
            assert standings(dpe, first)["b"] == "new"  # the first process says that it runs
            for command in (("rotate", "handle", first), ("take", second, first / "keys.json")):
                await asyncio.to_thread(dpe, "keys", *command)
            await server.reload()
            assert server._keys.current_hkid == 1
            await asyncio.to_thread(dpe, "nodes", "forget", first, "b")  # there is no first process, which would tell
            await asyncio.to_thread(dpe, "keys", "activate", "handle", first)
            while server._keys.current_hkid == 1:  # noqa: ASYNC110  # nobody tells
                await asyncio.sleep(0.01)

    with StateDir.open(second).lock():
        asyncio.run(run())


def test_keys_that_are_not_the_clusters_are_not_loaded(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = StateDir.open(second)
    with running_on(opened) as running:
        opened.change_keys(lambda keys: keys.having("handle", 1, bytes(32)))
        running.loop.run(running.server.reload())
        assert running.server._keys == opened.keys.__class__(
            opened.keys.master, opened.keys.handle, opened.keys.at_rest, 1, 1
        )
    (said,) = [line["reason"] for line in running.logs if line["log_level"] == "error"]
    assert "the handle key 1 in keys.json is not the one that the other nodes have" in said


def test_two_servers_with_one_name_are_told(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "EVERY", 0.05)
    config = second / "config.toml"
    config.write_text(config.read_text().replace('node = "b"', 'node = "a"'))
    with running_on(StateDir.open(first)) as running, running_on(StateDir.open(second)) as other:
        told = "another server says that it is this node"
        until(lambda: told in [line["event"] for line in [*running.logs, *other.logs]])


def test_a_key_that_another_node_has_added_is_taken_before_the_next(dpe: Invoke, first: Path, second: Path) -> None:
    dpe("keys", "rotate", "master", first)
    assert "master key 2 added" in dpe("keys", "rotate", "master", first).stdout  # it is that key
    assert listed(dpe, first)["master"] == [1, 2]
    said = dpe("keys", "rotate", "master", second, status=1).stderr
    assert "another node has added the master key 2" in said
    assert "dpe keys take" in said
    dpe("keys", "take", second, first / "keys.json")
    dpe("keys", "activate", "master", second)
    dpe("keys", "rotate", "master", second)
    assert listed(dpe, second)["master"] == [1, 2, 3]


def test_of_two_keys_that_are_added_at_once_one_counts(
    dpe: Invoke, first: Path, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = StateDir.open(second)
    rotate = StateDir.rotate

    def with_another(self: StateDir, kind: Any) -> int:
        monkeypatch.setattr(StateDir, "rotate", rotate)
        rotation.add(other, kind)
        return rotate(self, kind)

    monkeypatch.setattr(StateDir, "rotate", with_another)
    said = dpe("keys", "rotate", "handle", first, status=1).stderr
    assert "at the same time: that one counts" in said
    assert "is not the one that the other nodes have" in dpe("sessions", first, status=1).stderr
    dpe("keys", "take", first, "-", stdin=keys(second))
    assert StateDir.open(first).keys == StateDir.open(second).keys
    dpe("keys", "activate", "handle", first)


def test_a_server_that_lacks_a_key_which_others_use_does_not_start(dpe: Invoke, first: Path, second: Path) -> None:
    dpe("keys", "rotate", "handle", first)
    assert dpe("nodes", "forget", first, "b").stdout == "forgotten: the node b\n"
    dpe("keys", "activate", "handle", first)
    said = dpe("serve", second, status=1).stderr
    assert "keys.json lacks the handle key 2, which the other nodes use" in said
    assert "dpe keys take" in said
    assert "lacks the handle key 2" in dpe("serve", second, "--workers", "2", status=1).stderr
    assert "lacks the handle key 2" in dpe("provision", second, IMEI, status=1).stderr


def test_keys_of_another_cluster_are_not_taken(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    dpe("init", tmp_path / "other")
    before = keys(first)
    said = dpe("keys", "take", first, tmp_path / "other" / "keys.json", status=1).stderr
    assert "the keys of another cluster" in said
    mixed = key_file.parse((tmp_path / "other" / "keys.json").read_text())
    ours = StateDir.open(first).keys
    text = key_file.text_of(type(ours)({**mixed.master, 2: bytes(32)}, mixed.handle, ours.at_rest))
    assert "nothing is missing" in dpe("keys", "take", first, "-", stdin=text).stdout
    assert keys(first) == before
    assert "not JSON" in dpe("keys", "take", first, "-", stdin="x", status=1).stderr


def test_a_key_that_is_not_the_clusters_is_told(dpe: Invoke, first: Path, tmp_path: Path) -> None:
    ours = StateDir.open(first)
    dpe("init", tmp_path / "other")
    ours.change_keys(lambda keys: keys.having("master", 1, bytes(32)))
    assert "the master key 1 in keys.json is not the one" in dpe("serve", first, status=1).stderr
    shutil.copy(tmp_path / "other" / "keys.json", first)


def test_a_server_alone_uses_a_new_key_at_once(dpe: Invoke, state: Path) -> None:
    assert "handle key 2 added: new handles are sealed under 2" in dpe("keys", "rotate", "handle", state).stdout
    assert "handle key 2 is active already" in dpe("keys", "activate", "handle", state).stdout
    assert "shares its store with no other node" in dpe("keys", "take", state, state / "keys.json", status=1).stderr
    assert "has its store for itself" in dpe("nodes", state, status=1).stderr


def test_who_says_something_is_told_who_said_it_last(first: Path) -> None:
    opened = StateDir.open(first)
    store = opened.open_store()
    found = nodes_of(store)
    assert found is not None
    one, other = (nodes.Presence(opened, found, instance) for instance in (b"instance", b"another!"))
    assert set(one.tell()) == {("handle", 1), ("master", 1)}
    assert found.all()[0].silent == 0
    other.stop()  # it has said nothing
    assert found.all()[0].silent == 0
    one.stop()
    assert found.all()[0].silent is None
    assert not found.forget("c")
    store.close()
