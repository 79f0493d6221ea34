"""CoAP datagrams of the tools: written as another implementation writes them, and read back."""

from hypothesis import given
from hypothesis import strategies as st

from dpe_tools.datagram import TYPES, Datagram, parse
from tests.coap import Message

options = st.lists(st.tuples(st.integers(0, 2000), st.binary(max_size=300)), max_size=5)


@given(
    st.integers(0, 3),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.binary(max_size=8),
    options,
    st.binary(max_size=20),
)
def test_what_is_written_is_read_by_both(
    kind: int, code: int, message_id: int, coap_token: bytes, options: list[tuple[int, bytes]], payload: bytes
) -> None:
    ascending = tuple(sorted(options, key=lambda option: option[0]))
    written = Datagram(TYPES[kind], code, message_id, coap_token, ascending, payload)
    other = Message(kind, code, message_id, coap_token, ascending, payload)
    assert bytes(written) == bytes(other)
    assert parse(bytes(written)) == written
