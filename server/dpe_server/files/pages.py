"""Where the documentation is, for errors that name a page of it."""

import os.path
from importlib.metadata import PackageNotFoundError, files

_INSTALLED = "share/doc/dpe-coap/"
_CHECKOUT = os.path.realpath(os.path.join(__file__, "..", "..", "..", ".."))  # noqa: PTH118  # deciders have no pathlib


def page(name: str) -> str:
    """Return the path of a page such as ``docs/how-to/policy.md``: in the checkout, or where it is installed.

    Only the name is returned if it is in neither.
    """
    here = os.path.join(_CHECKOUT, name)  # noqa: PTH118
    if os.path.isfile(here):  # noqa: PTH113
        return here
    try:
        found = [one for one in files("dpe-coap") or () if one.as_posix().endswith(_INSTALLED + name)]
    except PackageNotFoundError:
        found = []
    return os.path.realpath(str(found[0].locate())) if found else name
