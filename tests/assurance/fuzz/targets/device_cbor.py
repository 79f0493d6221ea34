"""The device's decoder gives fields or ValueError, and of the messages for a client it takes those that the server's
takes, with the same fields, and no others."""

from dpe_coap.binding import MAX_PAYLOAD
from tests.assurance.fuzz.targets import message_decoder
from tests.device.cpython.codecs import alike

LONGEST = MAX_PAYLOAD + 8
WORDS = message_decoder.WORDS
seeds = message_decoder.seeds
check = alike
