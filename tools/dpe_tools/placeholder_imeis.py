"""Numbers that many devices show in place of an IMEI, because theirs was lost or never written.

Whoever puts such a number on a list means one device and would hit all that show it. The sources are public: firmware
that warns of the number, lists of numbers that programs must not take for a device's, and modems and trackers that have
been seen with it. 490154203237518 is not here: it is everybody's example, and no device shows it.
"""

from dpe_coap.imei import Imei

KNOWN = frozenset(
    {
        "00499901064000",  # Samsung and Intel modems without their own (CyanogenMod's AriesParts warns of it)
        "35824005111111",  # the Android emulator
        "13579024681122",  # the example in the manuals of Queclink's trackers; seen in the field on others
        "01234567891234",  # counted on 1,095 devices of one published data set
        "01234567890123",
        "12345678901234",
        # On the lists of several SDKs for Android, each number from many clones of one device:
        "35867301379589",
        "35200504824725",
        "35519500000001",
        "88508850885050",
        "00106800000000",
        "86228001059952",
        "35569254769308",
        "00440015202000",
        "11345679894545",
        "01237900077288",
        "35870104290975",
        "35800004365413",
        "34563000000011",
        "35629904658776",
        "35659100000022",
    }
)
"""The 14 digits that are an IMEI's identity."""


def is_placeholder(imei: Imei) -> bool:
    """Return whether the number stands for no device: all zeros, one digit throughout, or a known placeholder."""
    return len(set(imei.digits)) == 1 or imei.digits in KNOWN
