"""Stands in for a board's Wi-Fi, which the unix port has no module for: every use is told."""

STA_IF = 0


class WLAN:
    def __init__(self, interface: int) -> None:
        self.connected = False

    def active(self, on: bool) -> None:
        print("Wi-Fi on")

    def isconnected(self) -> bool:
        return self.connected

    def connect(self, ssid: str, key: str) -> None:
        print("joins", ssid)
        self.connected = True
