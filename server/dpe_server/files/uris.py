"""What the URI of a DPE Server may be: in config.toml, in a policy's redirect, in a credential."""

import re
from ipaddress import IPv6Address, ip_address

from dpe_coap.numbers import MAX_SERVER_URI

_URI = re.compile(
    r"coap://(?:[A-Za-z0-9._-]+|\[(?P<ipv6>[0-9A-Fa-f:.]+)(?:%(?P<zone>[A-Za-z0-9._~-]+))?\])"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?"
)
_ENCODED = "25"
"""What follows the % of a zone in RFC 6874: the devices, as most programs, take the zone as it is."""


def uri_fault(value: object, *, path: bool = False) -> str | None:
    """Return why ``value`` cannot be a server's URI, or None. With ``path``, a path may follow."""
    parts = _URI.fullmatch(value) if isinstance(value, str) and len(value) <= MAX_SERVER_URI else None
    if parts is None or not _is_host(parts) or not 0 < int(parts["port"] or 5683) <= 65535:
        return f"expected coap://HOST or coap://HOST:PORT, at most {MAX_SERVER_URI} bytes"
    if (parts["zone"] or "").startswith(_ENCODED) and parts["zone"] != _ENCODED:
        return "expected the zone as it is, as in [fe80::1%eth0], not behind %25"
    return "expected no path after the host and the port" if parts["path"] and not path else None


def is_loopback(uri: str) -> bool:
    """Say whether only the machine itself can reach a server at ``uri``, in which ``uri_fault`` finds no fault."""
    host = uri.removeprefix("coap://").partition("/")[0].rpartition("]")[0].removeprefix("[")
    host = host or uri.removeprefix("coap://").partition("/")[0].partition(":")[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_host(parts: re.Match[str]) -> bool:
    try:
        return parts["ipv6"] is None or bool(IPv6Address(parts["ipv6"]))
    except ValueError:
        return False
