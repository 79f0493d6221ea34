"""The results of the device's parsers for some bytes, as text, to compare two interpreters. Runs on MicroPython."""

from binascii import hexlify

from dpe_device.coap import Endpoint, parse
from dpe_device.reporter import Reporter
from dpe_device.values import encode as encode_value
from tests.device.scripted import encode
from tests.device.test_cbor import decode


def of_message(data: bytes) -> str:
    """The fields of a message, encoded again."""
    fields = decode(data)
    return "" if fields is None else _hex(encode(fields))


def of_datagram(datagram: bytes) -> str:
    """The answer, the response and the state of the exchange, when the datagram is for the open one and when not."""
    if len(datagram) < 4:
        return ""  # never comes so far
    told = []
    for mid, coap_token in ((datagram[2:4], datagram[4:8]), (b"\1\2", datagram[4:8]), (b"\1\2", b"\3\4\5\6")):
        endpoint = Endpoint()
        endpoint._request = b"\x44\2" + mid + coap_token
        endpoint._left = 3
        endpoint.ack_timeout = 2000
        endpoint.due = 7
        reply, response = endpoint.receive(datagram)
        told.append("-" if reply is None else _hex(reply))
        if response is not None:
            code, options, payload = response
            told.append(f"{code} {sorted(options.items())} {_hex(payload)}")
        told.append(f"{endpoint._left} {endpoint.due}")
    return "; ".join(told)


def of_inside(inside: bytes) -> str:
    """What a reporter makes of the inside of a protected answer, and what it reports then."""
    response = parse(b"\0" + inside[:1] + bytes(6) + inside[1:])
    if response is None:
        return ""
    code, _, payload = response
    reporter = Reporter()
    reporter.values = {0: 87, 1: "1.4.2", 2: True}
    reporter.make(0, 1)
    lifetime = reporter.done(code, payload, 60)
    reporter.values[0] = 20
    told = (lifetime, reporter._etag, reporter._policies, reporter.dropped, reporter.due(5000) <= 5000)
    return " ".join([str(code)] + [_hex(encode_value(one)) for one in told] + [_hex(reporter.make(5000, 1))])


def _hex(data: bytes) -> str:
    return str(hexlify(data), "ascii")
