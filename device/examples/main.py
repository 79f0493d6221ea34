"""A battery-powered board that reports its battery and its firmware: the main.py of an ESP32 or an RP2 with Wi-Fi.

It wakes, reports and sleeps. When the server does not know it, it registers first. All that it needs to know it finds
in its files after a deep sleep, a reset or a power cut:

    credential.cbor       its credential, of `dpe provision`
    wifi.json             {"ssid": "...", "key": "..."}
    state, state.2        its registration, its session, and which numbers it has used
    told, told.2          what the server wants to hear, so that it need not say it again
"""

import json
import time

import machine
import network

from dpe_device.device import Device
from dpe_device.registration import REFUSED
from dpe_device.store import FileStore, load_credential
from dpe_device.udp import report

_TYPING = False
if _TYPING:
    from dpe_device._types import Any

try:
    import cryptolib

    def aes(key: bytes) -> "Any":
        """Return AES-128 by the firmware."""
        return cryptolib.aes(key, 1)

except ImportError:
    from dpe_device.aes import AES as aes  # noqa: N811

FIRMWARE = "2.1.0"
BATTERY_PIN = 35  # of a board whose battery is behind a divider by two
SLEEP = 900  # s, from one report to the next
DAY = 86400  # s, after which a device that was refused asks again
PATIENCE = 60000  # ms, for one report; the next time it is awake it goes on where it was

# The properties' numbers, as the server knows them
BATTERY = 0
VERSION = 1


def connect() -> bool:
    """Join the Wi-Fi; False if that takes more than 20 s."""
    wifi = network.WLAN(network.STA_IF)
    wifi.active(True)
    with open("wifi.json") as file:
        settings = json.load(file)
    if not wifi.isconnected():
        wifi.connect(settings["ssid"], settings["key"])
    for _ in range(200):
        if wifi.isconnected():
            return True
        time.sleep(0.1)
    return False


def battery() -> int:
    """Return the charge in %: 3.3 V is empty and 4.2 V is full."""
    millivolts: int = machine.ADC(machine.Pin(BATTERY_PIN)).read_u16() * 2 * 3300 // 65535
    return min(max((millivolts - 3300) // 9, 0), 100)


def main() -> int:
    """Report; return for how long to sleep, in s."""
    told = FileStore("told")
    device = Device(load_credential("credential.cbor"), FileStore("state"), aes)
    answer = told.load()
    if answer:
        device.reporter.take(answer)
    if not connect():
        return SLEEP
    dropped = report(device, {BATTERY: battery(), VERSION: FIRMWARE}, deadline_ms=PATIENCE)
    for name in dropped:
        print("dropped", name, "code", dropped[name])
    registration = device.registration
    if registration.state == REFUSED:
        print("refused, status", registration.status)
        return DAY
    print(registration.state)
    if device.reporter.answer != answer:
        told.save(device.reporter.answer)
    return SLEEP


machine.deepsleep(main() * 1000)
