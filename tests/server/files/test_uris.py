"""What a server's URI may be."""

import pytest

from dpe_device.udp import parse_uri
from dpe_server.files.uris import is_loopback, uri_fault


@pytest.mark.parametrize(
    "uri",
    [
        "coap://127.0.0.1", "coap://[::1]:5683", "coap://dpe.example.org:1", "coap://h:65535", "coap://[2001:db8::1]",
        "coap://[fe80::1%eth0]", "coap://[fe80::1%eth0]:5683", "coap://[fe80::1%2]", "coap://[fe80::1%25]:1",
    ],
)  # fmt: skip
def test_uris_of_a_server(uri: str) -> None:
    assert uri_fault(uri) is None
    assert uri_fault(f"{uri}/dpe/register", path=True) is None
    assert uri_fault(f"{uri}/") is not None


@pytest.mark.parametrize(
    "uri",
    [
        "", "h", "coap:", "coap://", "coaps://h", "http://h", "COAP://h", "coap://h:0", "coap://h:65536", "coap://h:",
        "coap://user@h", "coap://h?q", "coap://h#f", "coap://h\n", " coap://h", "coap://h h", "coap://[::1", "coap://::1",
        "coap://[1:2]", "coap://[]", "coap://[fe80::1%]", "coap://[fe80::1%e h]", "coap://[fe80::1%e]x", "coap://h%e",
        "coap://127.0.0.1%e", "coap://[127.0.0.1%e]", "coap://[%eth0]",
        "coap://h\u00e4", "coap://h:\u0661", "coap://" + "h" * 122, None, 5, b"coap://h",
    ],
)  # fmt: skip
def test_what_is_no_uri_of_a_server(uri: object) -> None:
    assert uri_fault(uri) is not None
    assert uri_fault(uri, path=True) is not None


@pytest.mark.parametrize(
    ("uri", "loopback"),
    [
        ("coap://127.0.0.1", True),
        ("coap://127.8.9.10:5683", True),
        ("coap://[::1]:5683", True),
        ("coap://localhost", True),
        ("coap://Localhost:5683", True),
        ("coap://192.0.2.1", False),
        ("coap://0.0.0.0:5683", False),
        ("coap://[::]:5683", False),
        ("coap://[2001:db8::1]", False),
        ("coap://dpe.example/path", False),
        ("coap://127.example", False),
    ],
)
def test_what_only_the_machine_itself_reaches(uri: str, loopback: bool) -> None:
    assert uri_fault(uri, path=True) is None
    assert is_loopback(uri) is loopback


def test_a_zone_is_written_as_the_devices_take_it() -> None:
    assert parse_uri("coap://[fe80::1%eth0]:7") == ("fe80::1%eth0", 7)
    fault = uri_fault("coap://[fe80::1%25eth0]:7")
    assert fault == "expected the zone as it is, as in [fe80::1%eth0], not behind %25"
