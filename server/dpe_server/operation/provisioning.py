"""Provisioning (bootstrap) of many devices: their credentials in a folder, with an index that says which row is which.

What is interrupted can be gone on with, however it ended. A line of the index is written before what it names, so the
index knows every file. The same call with the same list finds out what is whole, mends the rest and goes on. A device
whose credential is there gets no second one.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path

from dpe_coap.errors import LocalError
from dpe_coap.imei import Imei
from dpe_server.operation.credential import Credential
from dpe_server.operation.provisioning_index import INDEX, Index
from dpe_server.operation.provisioning_places import Files, OneFile, Place

__all__ = ["INDEX", "Layout", "Provisioning"]


class Layout(StrEnum):
    """What the files are."""

    FILES = "files"
    """Two for each device, CBOR and JSON, side by side."""
    FOLDERS = "folders"
    """The same in up to 256 folders."""
    JSON_LINES = "json-lines"
    """One file, with a line of JSON for each device."""
    CBOR_SEQUENCE = "cbor-sequence"
    """One file, with a map of CBOR for each device (RFC 8742)."""


class Provisioning:
    """The credentials of ``devices`` (row and IMEI, none twice) in ``directory``.

    ``make`` makes a credential, always under the same realm, URI and keys. ``device_id`` returns the keyed hash that
    names a device (16 bytes): no file has an IMEI, in its name or in itself.
    """

    def __init__(
        self,
        directory: Path,
        devices: Sequence[tuple[int, Imei]],
        make: Callable[[Imei], Credential],
        device_id: Callable[[Imei], bytes],
        layout: Layout = Layout.FILES,
    ) -> None:
        self._directory = directory
        self._devices = devices
        self._make = make
        self._place: Place
        if layout in (Layout.FILES, Layout.FOLDERS):
            self._place = Files(directory, device_id, folders=layout is Layout.FOLDERS)
        else:
            self._place = OneFile(directory, as_json=layout is Layout.JSON_LINES)
        self.before = 0
        """Credentials that were there already, from an earlier call."""
        self.written = 0
        """Credentials that this call has written."""

    @property
    def unit(self) -> str:
        """What a line of the index names: a file, or an item of one."""
        return self._place.unit

    @property
    def done(self) -> str:
        """How far it is, in words."""
        return f"{self.before + self.written} of {len(self._devices)} credentials are done"

    def write(self) -> Generator[tuple[int, Credential | None], None, None]:
        """Write the credentials that are not there; yield each row, with the credential if it was not there.

        Raises LocalError rather than touch what is of another list, server or layout, and at an error of the operating
        system, with what is done so far.
        """
        try:
            with Index(self._directory, self._place.header) as index, closing(self._place):
                there = self._look(index)
                for row, imei in self._devices:
                    if row in there:
                        yield row, None
                    else:
                        made = self._write(index, row, imei)
                        self.written += 1
                        yield row, made
        except OSError as error:
            hint = "mend that, and give the same command again: it goes on from there"
            where = error.filename or self._directory
            raise LocalError(f"{where}: {error.strerror}; {self.done}", hint=hint) from None

    def _look(self, index: Index) -> set[int]:
        """Return the rows whose credentials are there. Lines at the end of the index may name what is not there."""
        imeis = dict(self._devices)
        there: set[int] = set()
        for number, (row, name) in enumerate(index.lines.items(), 1):
            if row not in imeis or name != self._place.name(number, imeis[row]):
                raise LocalError(
                    f"{index.path} was made from another list, for another server or with another --layout: "
                    f"row {row} is another there",
                    hint="go on with the same list, or give --out a directory that is new or empty",
                )
            if self._place.has(name, row, self._make(imeis[row])):
                there.add(row)
                self.before += 1
            elif self._place.in_order:
                break
        while self._place.in_order and len(index.lines) > len(there):
            index.drop_last()
        return there

    def _write(self, index: Index, row: int, imei: Imei) -> Credential:
        made = self._make(imei)
        if row not in index.lines:
            name = self._place.name(len(index.lines) + 1, imei)
            self._place.claim(name, made)
            index.append(row, name)
        name = index.lines[row]
        try:
            return self._place.write(name, row, made)
        except BaseException:
            if self._place.clear(name, row, made) and row == next(reversed(index.lines)):
                index.drop_last()
            raise
