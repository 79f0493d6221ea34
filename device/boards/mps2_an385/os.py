"""The built-in `os` with the `urandom` that this board's hardware does not offer."""

from entropy import urandom as urandom
from uos import *  # noqa: F403
