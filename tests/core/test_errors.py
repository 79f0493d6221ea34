"""What an error of the protocol tells: what to do next, the CoAP code it earns, and where in the bytes a fault is."""

from dpe_coap.binding import Code
from dpe_coap.errors import DpeError, LocalError, MalformedMessage, RemoteError, TooLarge


def test_an_error_may_know_what_to_do_next() -> None:
    assert (str(LocalError("wrong")), LocalError("wrong").hint) == ("wrong", "")
    assert LocalError("wrong", hint="do it right").hint == "do it right"


def test_the_peer_s_errors_have_a_code() -> None:
    assert RemoteError("refused").code == Code.BAD_REQUEST
    assert MalformedMessage("short", offset=1).code == Code.BAD_REQUEST
    assert TooLarge("long", offset=1).code == Code.REQUEST_ENTITY_TOO_LARGE
    assert issubclass(LocalError, DpeError)
    assert not issubclass(LocalError, RemoteError)


def test_a_malformed_message_names_the_place() -> None:
    in_the_encoding = MalformedMessage("truncated", offset=3)
    assert (in_the_encoding.fault, in_the_encoding.offset, in_the_encoding.key) == ("truncated", 3, None)
    assert in_the_encoding.place == "offset 3"
    assert str(in_the_encoding) == "truncated, offset 3"
    in_a_field = MalformedMessage("too long", offset=0, key=0)
    assert (in_a_field.place, str(in_a_field)) == ("key 0, offset 0", "too long, key 0, offset 0")
    assert (in_a_field.hint, in_a_field.key) == ("", 0)
