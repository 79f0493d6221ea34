"""Any bytes give fields or ValueError; of the messages for a client, the device accepts exactly the ones that the
server's decoder accepts, with the same fields."""

from dpe_coap.binding import MAX_PAYLOAD
from tests.assurance.fuzz.targets import message_decoder
from tests.device.cpython.codecs import alike

LONGEST = MAX_PAYLOAD + 8
WORDS = message_decoder.WORDS
seeds = message_decoder.seeds
check = alike
