"""Freezes the DPE Client into MicroPython's firmware, with the optional parts that a board's manifest names:

include("/path/to/device/manifest.py", x25519=True, aio=True)
"""

# ruff: noqa: F821  # MicroPython's build defines these names
# mypy: ignore-errors

metadata(version="0.2.0", description="The DPE Client: registration of Device Profile Evolution over CoAP")

options.defaults(x25519=False, aio=False, session=False, aes=False)

files = ["__init__.py", "coap.py", "messages.py", "registration.py", "store.py", "udp.py"]
if options.x25519:
    files.append("x25519.py")
if options.aio:
    files.append("aio.py")
if options.session:
    files += ["device.py", "oscore.py", "reporter.py", "session.py", "values.py"]
if options.aes:
    files.append("aes.py")
package("dpe_device", files=files, opt=3)
