"""`dpe bench device`, in short: what it says of our client holds, and it is fair to a peer."""

import json
from pathlib import Path
from typing import Any

import pytest

from dpe_bench.device import BEGIN, END
from dpe_bench.device.codecs import FAULTY
from dpe_bench.device.forger import KINDS
from tests.tools.conftest import Invoke

MOST_CODE = 8_250
"""Bytes of .mpy, UDP and all. The core has a ceiling of its own."""
MOST_ON_THE_WIRE = 264
"""Bytes of a registration with a lifetime."""

PEER = '''
import os
import socket

class COAP_CONTENT_FORMAT:
    COAP_APPLICATION_CBOR = 60

class Coap:
    """As much of microCoAPy's interface as the benchmark uses; it checks as little."""

    def setCustomSocket(self, custom):
        self.socket = custom

    def post(self, host, port, path, payload, query, content_format, token):
        parts = [bytes((len(part),)) + part.encode() for part in path.split("/")]
        parts[0] = bytes((0xB0 | parts[0][0],)) + parts[0][1:]
        header = b"\\x44\\2" + os.urandom(2) + token
        datagram = header + b"".join(parts) + bytes((0x11, content_format, 0xFF)) + payload
        self.socket.sendto(datagram, socket.getaddrinfo(host, port)[0][-1])

    def poll(self, timeout, period):
        self.socket.settimeout(timeout / 1000)
        try:
            datagram, sender = self.socket.recvfrom(1024)
        except OSError:
            return False
        self.payload = datagram[8:].split(b"\\xff", 1)[1]
        self.resposeCallback(self, sender)
        return True
'''
"""A stand-in for microCoAPy, to try the benchmark with: no figure of it is of use."""

READER = """
def loads(data):
    if not data:
        raise ValueError
    return {}
"""


@pytest.fixture
def microcoapy(tmp_path: Path) -> Path:
    folder = tmp_path / "peer" / "microcoapy"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(PEER)
    return folder.parent


@pytest.fixture
def cbor2(tmp_path: Path) -> Path:
    folder = tmp_path / "reader" / "cbor2"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(READER)
    return folder.parent


@pytest.mark.timeout(240)
def test_measures_our_client_and_a_peer(
    dpe: Invoke, micropython: str, microcoapy: Path, cbor2: Path, tmp_path: Path
) -> None:
    document = tmp_path / "document.md"
    document.write_text(f"before\n{BEGIN}tables of yesterday\n{END}after\n")
    short = ["-n", 24, "--loss", 0, "--loss", 20, "--forged", 4, "--ack-timeout", 200, "--json"]
    short += ["--micropython", micropython]
    done = dpe("bench", "device", *short, "--microcoapy", microcoapy, "--cbor2", cbor2, "--update", document)
    report: dict[str, Any] = json.loads(done.stdout)
    ours, peer, careful = report["results"]
    assert [one["contender"]["name"] for one in report["results"]][1:] == ["microCoAPy", "microCoAPy in a retry loop"]

    assert ours["contender"]["code"] <= MOST_CODE
    assert ours["costs"]["wire"] <= MOST_ON_THE_WIRE
    assert report["idle_heap"] < ours["costs"]["heap"]
    assert {loss: (one["registered"], one["wrong"]) for loss, one in ours["loss"].items()} == {
        "0": (24, 0),
        "20": (24, 0),
    }
    assert list(ours["forged"]) == list(KINDS)
    for kind, one in ours["forged"].items():
        taken = 8 if kind == "the right header" else 0  # the security token refuses it
        assert (one["tried"], one["sent"], one["taken"], one["lost"], one["believed"]) == (4, 8, taken, 0, 0)

    assert peer["loss"]["0"]["registered"] == careful["loss"]["0"]["registered"] == 24
    assert peer["loss"]["20"]["registered"] < 24
    for one in peer["forged"].values():
        assert (one["sent"], one["taken"], one["lost"], one["believed"]) == (4, 4, 4, 0)
    for one in careful["forged"].values():
        assert (one["sent"], one["taken"], one["lost"], one["believed"]) == (8, 8, 0, 0)

    assert report["modules"].keys() > {"coap", "messages", "registration", "session", "oscore", "reporter", "aes"}
    assert (
        sum(report["modules"][name] for name in ("coap", "udp", "messages", "registration"))
        == (ours["contender"]["code"])
    )
    reader, other = report["readers"]
    assert reader["accepts"] == []
    assert other["accepts"] == list(FAULTY)
    assert list(report["not_measured"]) == ["an emulated board"]

    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\nMicroPython 1.")
    assert text.endswith(f"\n{END}after\n")
    assert "24 of 24" in text
    assert "yesterday" not in text


def test_says_what_is_missing(dpe: Invoke, micropython: str, tmp_path: Path) -> None:
    (tmp_path / "document.md").write_text("no place\n")
    for arguments, said in (
        (["--micropython", tmp_path / "none"], ["there is no MicroPython at", "hint: run tools/fetch_micropython"]),
        (["--micropython", "true"], ["is no MicroPython"]),
        (["--microcoapy", tmp_path], ["has no package microcoapy in it", "hint: get it with: git clone"]),
        (["--update", tmp_path / "document.md"], ["has no place for the tables", "hint: put these two lines"]),
    ):
        given = ["--micropython", micropython] if "--micropython" not in arguments else []
        done = dpe("bench", "device", *given, *arguments, status=1)
        assert all(line in done.stderr for line in said), done.stderr


def test_refuses_wrong_usage(dpe: Invoke) -> None:
    assert "95 is not in the range" in dpe("bench", "device", "--loss", 95, status=2).stderr
