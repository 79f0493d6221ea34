"""What others have published of clients that do not run on MicroPython: read, not measured here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Published:
    """A client's figures, and where they stand."""

    name: str
    what: str
    code: str
    memory: str
    source: str


PUBLISHED = (
    Published(
        "Anjay Lite 1.0.0 (C)",
        "LwM2M client over CoAP, without DTLS",
        "33.2 kB of flash, the minimal build, RelWithDebInfo",
        "9,068 bytes of static RAM (core and three objects), with security, caching and observations",
        "avsystem.github.io/Anjay-lite/CompilationImpact.html",
    ),
    Published(
        "uOSCORE and uEDHOC (C)",
        "EDHOC key exchange and OSCORE, without CoAP's message layer",
        "about 25 kB of flash",
        "1.8 to 4.2 kB of RAM, by the mode of EDHOC",
        "Hristozov et al., The Cost of OSCORE and EDHOC for Constrained Devices, CODASPY 2021, arXiv 2103.13832",
    ),
)
