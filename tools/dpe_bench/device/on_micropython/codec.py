"""Reads CBOR, with this project's reader or with micropython-lib's cbor2. It runs on MicroPython.

    micropython -m codec dpe|cbor2 FILE TIMES

FILE has a line for each encoding: the number of the message's type and the encoding in hex. Each is read TIMES times,
and a line is printed for each: `accepted` or `refused`.
"""

import sys
from binascii import unhexlify

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

if sys.argv[1] == "dpe":
    from dpe_device import messages

    def decode(data: bytes, kind: int) -> "Any":
        """Return the fields of a message of this type."""
        return messages.decode(data, kind)

else:
    from cbor2 import loads

    def decode(data: bytes, kind: int) -> "Any":
        """Return the map."""
        return loads(data)


def main(path: str, times: int) -> None:
    """Read all."""
    with open(path) as file:  # noqa: PTH123  # MicroPython has no pathlib
        for line in file:
            kind, encoding = line.split()
            data = unhexlify(encoding)
            said = "accepted"
            for _ in range(times):
                try:
                    decode(data, int(kind))
                except Exception:  # a general reader raises what it likes
                    said = "refused"
            print(said)


main(sys.argv[2], int(sys.argv[3]))
