"""Labels, codes and sizes of DPE-1. Generated from dpe1.cddl by tools/generate.py; do not edit."""

from enum import IntEnum
from typing import Final

LABEL_TYPE: Final = 0
LABEL_IDENTITY: Final = 1
LABEL_VERSION: Final = 2
LABEL_CLIENT_ID: Final = 3
LABEL_STATUS: Final = 4
LABEL_SEALED_HANDLE: Final = 5
LABEL_X25519_KEY: Final = 6
LABEL_FIRMWARE: Final = 7
LABEL_SERVER_URI: Final = 8
LABEL_LIFETIME: Final = 9
LABEL_RETRY_AFTER: Final = 10
LABEL_SECURITY_TOKEN: Final = 23

SESSION_LABEL_POLICY_ETAG: Final = 0
SESSION_LABEL_PROPERTIES: Final = 1
SESSION_LABEL_LIFETIME: Final = 2
SESSION_LABEL_POLICIES: Final = 3

SIZE_SEALED_IMEI: Final = 17
SIZE_CLEAR_IMEI: Final = 7
SIZE_CLIENT_ID: Final = 7
SIZE_SEALED_HANDLE: Final = 17
SIZE_X25519_KEY: Final = 32
SIZE_LONG_TOKEN: Final = 32
SIZE_MAC: Final = 16
SIZE_POLICY_ETAG: Final = 4

MIN_INT64: Final = -9223372036854775808
MIN_LIFETIME: Final = 60

MAX_VERSION_PART: Final = 255
MAX_STATUS: Final = 255
MAX_FIRMWARE: Final = 32
MAX_SERVER_URI: Final = 128
MAX_SECONDS: Final = 4294967295
MAX_ATTRIBUTE: Final = 65535
MAX_PROPERTY_NUMBER: Final = 65535
MAX_PROPERTY_NAME: Final = 32
MAX_TEXT_VALUE: Final = 256
MAX_BYTES_VALUE: Final = 256
MAX_INT64: Final = 9223372036854775807
MAX_LIFETIME: Final = 4294967295


class MessageType(IntEnum):
    """The value of label 0: which of the four messages this is."""

    REQUEST = 1
    RESPONSE = 2
    SUCCESS = 3
    CONFIRM = 4


class Status(IntEnum):
    """The value of label 4. Values not listed are refusals in a RESPONSE, declines in a SUCCESS."""

    OK = 0
    VERSION_NOT_SUPPORTED = 1
    REFUSED = 2
    UNAVAILABLE = 3
    SUITE_TOO_WEAK = 4
    REPROVISION = 5
    REDIRECT = 6
    DECLINED = 16
    VERSION_UNACCEPTABLE = 17
    STORAGE_FAILURE = 18
    ABORTED = 19
    RELEASED = 32
    SUPERSEDED = 33


class Attribute(IntEnum):
    """What a condition says: when a property is reported."""

    PMIN = 0
    PMAX = 1
    GT = 2
    LT = 3
    ST = 4
    BAND = 5
    EDGE = 6
    ROAMING = 16


class Property(IntEnum):
    """The properties that have a number of one byte."""

    BATTERY = 0
    FIRMWARE = 1
    ROAMING = 2
    FREE_MEMORY = 3
    LANGUAGE = 4
    LAST_REBOOT = 5
    ORIENTATION = 6
    HEADSET = 7
    BEARER = 8
    SIGNAL = 9
    DISPLAY = 10
