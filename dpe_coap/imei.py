"""The IMEI as DPE-1 uses it: the 14 digits TAC and SNR (3GPP TS 23.003 clause 6.2), shown only on request."""

from dataclasses import dataclass

from dpe_coap.errors import LocalError
from dpe_coap.numbers import SIZE_CLEAR_IMEI

DIGITS = 2 * SIZE_CLEAR_IMEI
TAC_DIGITS = 8


def luhn(digits: str) -> int:
    """Return the check digit of the 14 ``digits`` (3GPP TS 23.003 annex B)."""
    doubled = (2 * int(digit) for digit in digits[1::2])
    return -(sum(n // 10 + n % 10 for n in doubled) + sum(map(int, digits[::2]))) % 10


@dataclass(frozen=True, slots=True, repr=False)
class Imei:
    """A device's identity: 7 bytes of BCD, the high nibble first. ``repr`` and ``str`` show no digit."""

    packed: bytes

    def __post_init__(self) -> None:
        """Raise LocalError unless there are 14 packed decimal digits."""
        if len(self.packed) != SIZE_CLEAR_IMEI or not self.packed.hex().isdecimal():
            raise LocalError("an IMEI is 7 bytes of decimal digits")

    @classmethod
    def parse(cls, text: str) -> "Imei":
        """Read 14 digits, 15 (with the Luhn check digit or the spare digit 0) or 16 (IMEISV; its SVN is dropped).

        Spaces, hyphens and slashes are dropped, because people print them between the digits. Raises LocalError, which
        names the fault but never a digit.
        """
        digits = text.strip().translate({ord(mark): None for mark in " -/"})
        if not (digits.isascii() and digits.isdecimal()):
            raise LocalError("not an IMEI: it has other characters than digits", hint="give 14, 15 or 16 digits")
        if len(digits) not in (14, 15, 16):
            raise LocalError(f"not an IMEI: it has {len(digits)} digits", hint="give 14, 15 or 16 digits")
        if len(digits) == 15 and digits[14] not in ("0", str(luhn(digits[:14]))):
            raise LocalError(
                "not an IMEI: the check digit (the 15th) is wrong",
                hint="look for a mistyped digit",
            )
        return cls(bytes.fromhex(digits[:DIGITS]))

    @property
    def digits(self) -> str:
        """The 14 digits in clear: for an operator, never for a log."""
        return self.packed.hex()

    @property
    def tac(self) -> str:
        """The type allocation code: the first 8 digits, which identify the model but not the device."""
        return self.packed[: TAC_DIGITS // 2].hex()

    def __repr__(self) -> str:
        """Redacted."""
        return "Imei(redacted)"
