"""An IMEI as people and their programs write it: read, or refused with the true reason. No reason shows a digit."""

import re
import unicodedata
from typing import NamedTuple

from dpe_coap.errors import LocalError
from dpe_coap.imei import DIGITS, Imei, luhn
from dpe_tools.placeholder_imeis import is_placeholder

EXPORT = (
    "take the numbers from their source again, import them into the spreadsheet as text (not as numbers), "
    "and export that"
)
"""What helps against a spreadsheet."""

_FORMULA = re.compile(r'=\s*"([^"]*)"')
_PREFIX = re.compile(r"(?:\+CGSN|IMEI(?:\s?SV)?(?:\s?[1-9])?(?:\s?(?:no\.?|number))?)\s*[:=#]\s*", re.IGNORECASE)
_SCIENTIFIC = re.compile(r"\d+(?:[.,]\d*)?[eE][+-]?\d+")
_DECIMAL = re.compile(r"\d+[.,]0+")
_MEID = re.compile(r"(?=.*[a-fA-F])[0-9a-fA-F]{14,15}")

_GROUPS = {
    *((14,), (8, 6), (2, 6, 6), (6, 2, 6), (4, 4, 4, 2)),
    *((16,), (14, 2), (8, 6, 2), (2, 6, 6, 2), (6, 2, 6, 2), (4, 4, 4, 4)),
}
"""How many digits may stand between separators, where no check digit vouches for the number."""


class Damaged(LocalError):
    """A spreadsheet has changed the number: so it has probably changed others of the list too."""


class Cell(NamedTuple):
    """What a cell says."""

    imei: Imei
    length: int
    """How many digits are written: 14, 15 or 16."""
    spare: bool
    """The 15th digit is 0 and not the check digit: the spare digit, or a mistyped number."""
    checked: bool
    """The 15th digit is the check digit, and not 0: the list has check digits."""
    zero_lost: bool
    """With a 0 before them, the 14 digits are 15 with a good check digit."""


def read(text: str) -> Cell:
    """Read 14 digits, 15 (with the check digit or the spare digit 0) or 16 (IMEISV; its SVN is dropped).

    Around the number there may be a prefix such as ``IMEI:`` or ``+CGSN:``, quotation marks, and a spreadsheet's marks
    of text (``="…"`` and an apostrophe). Between its digits there may be spaces, hyphens and slashes. The digits may be
    of any script. Raises LocalError (Damaged if a spreadsheet is to blame), which shows no digit.
    """
    groups = _groups(_bare(text))
    digits = "".join(groups)
    if len(digits) >= 2 * DIGITS:
        raise LocalError("not an IMEI: it has digits for two numbers", hint="give each number a row of its own")
    sizes = tuple(map(len, groups))
    vouched = sum(sizes) == 15 and sizes[0] > 1
    if len(sizes) > 1 and len(digits) in (14, 15, 16) and not vouched and sizes not in _GROUPS:
        raise LocalError(
            "not an IMEI: its digits are not grouped as an IMEI's are; another number may stand beside it",
            hint="write the digits without separators",
        )
    imei = Imei.parse(digits)
    if is_placeholder(imei):
        raise LocalError(
            "not an IMEI: many devices show this number in place of one that was lost or never written",
            hint="read the device's own IMEI from its label",
        )
    check = str(luhn(imei.digits))
    return Cell(
        imei,
        len(digits),
        spare=len(digits) == 15 and digits[14] != check,
        checked=len(digits) == 15 and digits[14] == check != "0",
        zero_lost=len(digits) == 14 and str(luhn("0" + digits[:13])) == digits[13],
    )


def _bare(text: str) -> str:
    """Return the number without what may stand around it."""
    text = "".join(char for char in text if unicodedata.category(char) != "Cf").strip()
    if formula := _FORMULA.fullmatch(text):
        text = formula[1].strip()
    text = text.removeprefix("'").strip()
    if prefix := _PREFIX.match(text):
        text = text[prefix.end() :]
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.strip()


def _groups(text: str) -> list[str]:
    """Return the digits between separators, as ASCII."""
    if not text:
        raise LocalError("not an IMEI: it is empty")
    if _SCIENTIFIC.fullmatch(text):
        raise Damaged("not an IMEI: a spreadsheet has rounded it to a number with an exponent", hint=EXPORT)
    if _DECIMAL.fullmatch(text):
        raise Damaged("not an IMEI: a program has made it a decimal number", hint=EXPORT)
    if _MEID.fullmatch(text):
        raise LocalError("not an IMEI but a MEID: it has hexadecimal digits")
    if text.startswith("#"):
        raise LocalError("it begins with #: comments may only stand before the header and the first row")
    groups = [""]
    for char in text:
        if char.isdecimal():
            groups[-1] += str(unicodedata.decimal(char))
        elif char in "/\N{MINUS SIGN}" or char.isspace() or unicodedata.category(char) == "Pd":
            groups.append("")
        else:
            raise LocalError("not an IMEI: it has other characters than digits", hint="give 14, 15 or 16 digits")
    return [group for group in groups if group]
