"""Batches of datagrams in one system call each way: recvmmsg(2) and sendmmsg(2), through cffi. For Linux.

The kernel writes into slots of fixed size, in buffers that are made once; Python takes two or three slices for each
datagram. An endpoint is the peer's raw socket address, followed by the packet info that a reply carries: one ``bytes``,
which goes back into a slot as it is.
"""

import errno
import mmap
import socket
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any, Final

import cffi

from dpe_server.net import packet_info

BATCH = 256
"""The most datagrams in one system call."""

_NEAR = 512
"""Bytes of each datagram that lie together. The rest, up to the longest datagram, lies in pages used for it alone."""
_FAR = 65_536 - _NEAR
_LOCALS = 1_024  # of our own addresses remembered
_SOCKADDR = {socket.AF_INET: 16, socket.AF_INET6: 28}  # sizes of sockaddr_in and sockaddr_in6
_SOURCE = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 16)}  # the address, or its /64
_FULL = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS, errno.ENOMEM)

_ffi = cffi.FFI()
_ffi.cdef("""
    struct iovec { void *iov_base; size_t iov_len; };
    struct msghdr {
        void *msg_name; unsigned int msg_namelen; struct iovec *msg_iov; size_t msg_iovlen;
        void *msg_control; size_t msg_controllen; int msg_flags;
    };
    struct mmsghdr { struct msghdr msg_hdr; unsigned int msg_len; };
    struct cmsghdr { size_t cmsg_len; int cmsg_level; int cmsg_type; };
    int recvmmsg(int, struct mmsghdr *, unsigned int, int, void *);
    int sendmmsg(int, struct mmsghdr *, unsigned int, int);
""")
_libc: Any = _ffi.dlopen(None)

_HEADER: int = _ffi.sizeof("struct mmsghdr")
_CMSG_HEADER: int = _ffi.sizeof("struct cmsghdr")
_UINT: Final = "I"
_SIZE: Final = "L"  # size_t, and pointers, on Linux

AVAILABLE = sys.platform == "linux" and hasattr(_libc, "recvmmsg") and hasattr(_libc, "sendmmsg")
"""Whether this machine has the two system calls."""


def _aligned(size: int) -> int:
    return -(-size // 8) * 8


class Mmsg:
    """Receives and sends on a non-blocking UDP socket, given by its descriptor and address family."""

    full = BATCH
    """The size of a full batch, after which there may be more."""

    def __init__(self, descriptor: int, family: int) -> None:
        self.source = _SOURCE[socket.AddressFamily(family)]
        """The part of an endpoint that tells one host or network from another."""
        self._descriptor = descriptor
        self._family = family
        self._info_size = packet_info.SIZE[socket.AddressFamily(family)]
        self._name = _aligned(_SOCKADDR[socket.AddressFamily(family)])
        self._slot = self._name + _CMSG_HEADER + _aligned(self._info_size)
        self._local: dict[bytes, bytes | None] = {}

        self._near = _ffi.new("char[]", BATCH * _NEAR)
        # Not shared with a forked process, and takes no memory until a datagram is that long.
        self._far = _ffi.from_buffer(mmap.mmap(-1, BATCH * _FAR, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        self._receive_slots = _ffi.new("char[]", BATCH * self._slot)
        self._receive_iovecs = _ffi.new("struct iovec[]", 2 * BATCH)
        for number in range(BATCH):
            self._receive_iovecs[2 * number] = (self._near + number * _NEAR, _NEAR)
            self._receive_iovecs[2 * number + 1] = (self._far + number * _FAR, _FAR)
        self._receive_headers = self._headers(self._receive_slots, self._receive_iovecs, 2)
        self._near_bytes = _ffi.buffer(self._near)
        self._far_bytes = _ffi.buffer(self._far)
        self._receive_slot_bytes = _ffi.buffer(self._receive_slots)
        self._receive_header_bytes = _ffi.buffer(self._receive_headers)
        self._fresh_headers = self._receive_header_bytes[:]
        words = memoryview(self._receive_header_bytes).cast(_UINT)
        self._lengths = words[_ffi.offsetof("struct mmsghdr", "msg_len") // words.itemsize :: _HEADER // words.itemsize]

        self._send_slots = _ffi.new("char[]", BATCH * self._slot)
        self._send_iovecs = _ffi.new("struct iovec[]", BATCH)
        self._send_headers = self._headers(self._send_slots, self._send_iovecs, 1)
        self._send_slot_bytes = _ffi.buffer(self._send_slots)
        self._send_iovec_words = memoryview(_ffi.buffer(self._send_iovecs)).cast(_SIZE)

    def _headers(self, slots: Any, iovecs: Any, each: int) -> Any:
        """Return the headers of a batch, each with its slot and its iovecs."""
        headers = _ffi.new("struct mmsghdr[]", BATCH)
        for number in range(BATCH):
            header = headers[number].msg_hdr
            header.msg_name = slots + number * self._slot
            header.msg_namelen = _SOCKADDR[socket.AddressFamily(self._family)]
            header.msg_iov = iovecs + number * each
            header.msg_iovlen = each
            header.msg_control = slots + number * self._slot + self._name
            header.msg_controllen = self._slot - self._name
        return headers

    def receive(self) -> tuple[list[bytes], list[bytes]]:
        """Return the datagrams that are there, at most ``BATCH``, and the endpoint of each.

        What was sent to a multicast or broadcast address is dropped.
        """
        count = _libc.recvmmsg(self._descriptor, self._receive_headers, BATCH, 0, _ffi.NULL)
        datagrams: list[bytes] = []
        endpoints: list[bytes] = []
        if count <= 0:  # none, or an error that the kernel kept for this socket
            return datagrams, endpoints
        near, slots, name, slot = self._near_bytes, self._receive_slot_bytes, self._name, self._slot
        local = self._local
        at = begin = 0
        for length in self._lengths[:count].tolist():
            control = slots[begin + name : begin + slot]
            reply = local[control] if control in local else self._learn(control)
            if reply is not None:
                endpoints.append(slots[begin : begin + name] + reply)
                datagrams.append(near[at : at + length] if length <= _NEAR else self._long(at // _NEAR, length))
            at += _NEAR
            begin += slot
        self._receive_header_bytes[: count * _HEADER] = self._fresh_headers[: count * _HEADER]
        return datagrams, endpoints

    def _long(self, number: int, length: int) -> bytes:
        near = self._near_bytes[number * _NEAR : (number + 1) * _NEAR]
        return near + self._far_bytes[number * _FAR : number * _FAR + length - _NEAR]  # type: ignore[no-any-return]

    def _learn(self, control: bytes) -> bytes | None:
        """Return the ancillary data for a reply to a datagram that came with ``control``, and remember it."""
        if len(self._local) >= _LOCALS:
            self._local.clear()
        end = _CMSG_HEADER + self._info_size
        info = packet_info.for_reply(self._family, control[_CMSG_HEADER:end])
        self._local[control] = reply = None if info is None else control[:_CMSG_HEADER] + info + control[end:]
        return reply

    def send(self, datagrams: Sequence[bytes], endpoints: Sequence[bytes]) -> None:
        """Send each datagram to its endpoint, as far as the kernel takes them now: the rest is lost like any other."""
        for start in range(0, len(datagrams), BATCH):
            self._send(datagrams[start : start + BATCH], endpoints[start : start + BATCH])

    def ends(self, endpoint: bytes) -> tuple[bytes, int, bytes]:
        """Return the peer's address and port, and our address."""
        size = 4 if self._family == socket.AF_INET else 16
        begin = 4 if self._family == socket.AF_INET else 8
        info = endpoint[self._name + _CMSG_HEADER :]
        port = int.from_bytes(endpoint[2:4], "big")
        return endpoint[begin : begin + size], port, packet_info.own_address(self._family, info)

    def _send(self, datagrams: Sequence[bytes], endpoints: Sequence[bytes]) -> None:
        count = len(datagrams)
        joined = _ffi.from_buffer(b"".join(datagrams))  # must live until the end
        lengths = array(_SIZE, map(len, datagrams))
        starts = accumulate(lengths, initial=int(_ffi.cast("uintptr_t", joined)))
        self._send_iovec_words[: 2 * count] = array(_SIZE, chain.from_iterable(zip(starts, lengths, strict=False)))
        self._send_slot_bytes[: count * self._slot] = b"".join(endpoints)
        done = 0
        while done < count:
            sent = _libc.sendmmsg(self._descriptor, self._send_headers + done, count - done, 0)
            if sent < 0:
                if _ffi.errno in _FULL:
                    return
                sent = 1  # this one cannot be sent; the next may
            done += sent
