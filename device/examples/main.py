"""A battery-powered board that registers once: the main.py of an ESP32 or an RP2 with Wi-Fi.

It wakes, works and sleeps. It registers when it is not registered, and again before its session ends; all else that
it needs to know it finds in its files after a deep sleep, a reset or a power cut:

    credential.cbor       its credential, of `dpe provision`
    wifi.json             {"ssid": "...", "key": "..."}
    state, state.2        its registration
    age, age.2            how old its session is
"""

import json
import os
import time
from binascii import hexlify

import machine
import network

from dpe_device.registration import REFUSED, REGISTERED, Registration
from dpe_device.store import FileStore, load_credential
from dpe_device.udp import register

SLEEP = 900  # s, from one piece of work to the next
DAY = 86400  # s, after which a device that was refused asks again
PATIENCE = 60000  # ms, for a registration; the next time it is awake it goes on where it was


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


def work(registration: Registration) -> None:
    """Do what the device is for; the session's OSCORE context is made of these."""
    print("Client ID", str(hexlify(registration.client_id or b""), "ascii"))


def main() -> int:
    """Register if it is needed, work; return for how long to sleep, in s."""
    credential = load_credential("credential.cbor")
    state = FileStore("state")
    age = FileStore("age")
    registration = Registration(credential, state, os.urandom)
    slept = int.from_bytes(age.load() or b"", "big") + SLEEP
    lifetime = registration.lifetime
    if registration.state != REGISTERED or (lifetime is not None and slept + SLEEP >= lifetime):
        if not connect():
            return SLEEP
        registration = register(credential, state, deadline_ms=PATIENCE)
        if registration.state == REFUSED:
            print("refused, status", registration.status)
            return DAY
        if registration.state != REGISTERED:
            return SLEEP
        slept = 0
    if registration.lifetime is not None:
        age.save(slept.to_bytes(4, "big"))
    work(registration)
    return SLEEP


machine.deepsleep(main() * 1000)
