"""What may be told of a registration's messages before they are decoded."""

from dpe_coap.numbers import LABEL_TYPE, MessageType

KINDS = (bytes([LABEL_TYPE, MessageType.REQUEST]), bytes([LABEL_TYPE, MessageType.SUCCESS]))
"""The bytes behind the first one of the messages that a server takes: the first entry of the map."""
