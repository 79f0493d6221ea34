"""What survives a reboot of the device, and what does not."""

from dpe_device import messages
from dpe_device.registration import Registration
from tests.device.scripted import (
    CLIENT_ID,
    CREDENTIAL,
    DEVICE_KEY,
    HANDLE,
    NEXT_HANDLE,
    UNAUTHORIZED,
    Bench,
    Chance,
    answer,
    sealed,
)


def nonce(payload: bytes) -> bytes:
    return payload[-32:-16]


def test_before_success_is_saved_it_starts_over() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.boot()
    assert bench.state == "IDLE"
    again = bench.wait_sent()
    assert nonce(again.payload) != nonce(request.payload)
    assert again.payload[5:22] == HANDLE


def test_after_success_was_saved_it_repeats_the_same_bytes() -> None:
    bench = Bench()
    success = bench.offered()
    saves = bench.storage.saves
    for _ in range(3):
        bench.boot()
        assert bench.state == "CONFIRMING"
        again = bench.wait_sent()
        assert again.payload == success.payload
    assert bench.storage.saves == saves
    bench.step(answer(again, bench.server.confirm(again.payload, 0, 3600)))
    assert bench.state == "REGISTERED"
    assert bench.registration.client_id == CLIENT_ID
    assert bench.registration.lifetime == 3600


def test_a_success_saved_but_never_sent_is_sent() -> None:
    bench = Bench()
    request = bench.wait_sent()
    bench.registration.step(bench.now, answer(request, bench.server.response(request.payload)), bench.registration.peer)
    bench.boot()
    success = bench.wait_sent()
    bench.step(answer(success, bench.server.confirm(success.payload)))
    assert bench.state == "REGISTERED"


def test_start_after_a_reboot_goes_on_with_success() -> None:
    bench = Bench()
    success = bench.offered()
    bench.boot()
    bench.registration.start()
    assert bench.wait_sent().payload == success.payload


def test_a_repeated_success_that_nobody_knows_leads_to_a_new_request() -> None:
    bench = Bench()
    bench.offered()
    bench.boot()
    for _ in range(3):
        assert len(bench.wait_sent().payload) == 32
        bench.exhausted()
    assert bench.state == "BACKOFF"
    request = bench.wait_sent()
    assert request.payload[5:22] == NEXT_HANDLE
    bench.boot()
    assert bench.state == "CONFIRMING"


def test_registered_it_stays_so_and_sends_nothing() -> None:
    bench = Bench()
    bench.registered(86400)
    before = bench.registration
    saves = bench.storage.saves
    bench.boot()
    after = bench.registration
    assert bench.state == "REGISTERED"
    assert bench.step() is None
    assert bench.wake is None
    assert bench.storage.saves == saves
    assert after.client_id == before.client_id == CLIENT_ID
    assert after.oscore == before.oscore
    assert after.lifetime == 86400


def test_the_old_session_is_kept_until_the_new_one_is_accepted() -> None:
    bench = Bench()
    bench.registered()
    bench.start()
    bench.wait_sent()
    assert bench.registration.client_id == CLIENT_ID
    bench.boot()
    assert bench.state == "REGISTERED"
    bench.start()
    bench.offered()
    bench.boot()
    assert bench.state == "CONFIRMING"


def test_a_damaged_record_counts_as_none() -> None:
    bench = Bench()
    bench.registered()
    record = bench.storage.record
    assert record is not None
    for at in range(len(record)):
        bench.storage.record = record[:at] + bytes((record[at] ^ 0x10,)) + record[at + 1 :]
        bench.boot()
        assert bench.state == "IDLE"
        assert bench.registration.client_id is None
        bench.storage.record = record[:at]
        bench.boot()
        assert bench.state == "IDLE"
    for octet in range(256):
        bench.storage.record = bytes((octet,))
        bench.boot()
        assert bench.state == "IDLE"
    bench.storage.record = record + b"\0"
    bench.boot()
    assert bench.state == "IDLE"
    bench.registered()
    bench.boot()
    assert bench.state == "REGISTERED"


def test_a_record_of_another_credential_counts_as_none() -> None:
    bench = Bench()
    bench.registered()
    record = bench.storage.record
    assert record is not None
    for key, size in (("handle", 17), ("device_key", 32)):
        credential = dict(CREDENTIAL)
        credential[key] = bytes(size)
        assert Registration(credential, bench.storage, bench.chance).state == "IDLE"


def test_weak_entropy_makes_other_nonces_after_each_reboot() -> None:
    bench = Bench(Chance(octet=0))
    seen = set()
    for _ in range(5):
        seen.add(nonce(bench.wait_sent().payload))
        bench.boot()
    assert len(seen) == 5


def test_weak_entropy_makes_other_nonces_in_each_attempt() -> None:
    bench = Bench(Chance(octet=0))
    seen = set()
    for _ in range(5):
        seen.add(nonce(bench.wait_sent().payload))
        bench.exhausted()
    assert len(seen) == 5


def test_a_storage_that_fails_does_not_keep_it_from_asking() -> None:
    bench = Bench()
    bench.storage.broken = True
    assert len(bench.wait_sent().payload) == 61


def test_a_record_of_another_layout_is_not_read() -> None:
    bench = Bench()
    bench.registered()
    record = bench.storage.record or b""
    assert record == sealed(record[:-16])
    for layout in (b"state", b"state 1", b"state 3"):
        bench.storage.record = sealed(record[:-16], layout=layout)
        bench.boot()
        assert bench.state == "IDLE"
        assert bench.wait_sent().payload[5:22] == HANDLE


def test_the_boot_counter_is_saved_once_a_boot_and_once_in_256_attempts() -> None:
    bench = Bench(Chance(octet=0))
    seen = set()
    for attempt in range(258):
        seen.add(nonce(bench.wait_sent().payload))
        bench.exhausted()
        bench.entered.clear()  # a small board has no room for all of it
        assert bench.storage.saves == 1 + attempt // 256
    bench.boot()
    seen.add(nonce(bench.wait_sent().payload))
    assert bench.storage.saves == 3
    assert len(seen) == 259
    assert (bench.storage.record or b"")[:4] == b"\0\0\0\3"


def counted(block: int) -> bytes:
    """The record of a device without a session whose next block of boot counters is this."""
    return sealed(block.to_bytes(4, "big") + bytes(5) + HANDLE)


def numbered(number: int) -> bytes:
    """The nonce of a REQUEST with this boot counter, when the entropy is all zeros."""
    return messages.derive(DEVICE_KEY, b"nonce" + number.to_bytes(5, "big") + bytes(16))[:16]


def test_the_nonce_is_made_of_a_boot_counter_of_40_bits() -> None:
    for block in (0, 1, 0xFFFFFF, 0x1000000, 0xFFFFFFFC):
        bench = Bench(Chance(octet=0))
        bench.storage.record = counted(block)
        bench.boot()
        for number in range(block * 256 + 1, block * 256 + 4):
            assert nonce(bench.wait_sent().payload) == numbered(number)
            bench.exhausted()
        assert bench.storage.record == counted(block + 1)
    vector = "8e0e953586c05068f89e5ddd58148538"  # by hmac and hashlib
    assert numbered(0x0102030405).hex() == vector


def test_past_24_bits_of_blocks_it_boots_registers_and_goes_on() -> None:
    bench = Bench()
    bench.storage.record = counted(0x1000000)
    bench.boot()
    bench.registered(60)
    assert (bench.storage.record or b"")[:4] == b"\1\0\0\2"  # the first for registering, the second for the session
    bench.boot()
    assert bench.state == "REGISTERED"
    bench.start()
    bench.registered()
    assert (bench.storage.record or b"")[:4] == b"\1\0\0\4"


def test_at_the_end_of_the_boot_counter_it_says_so_and_stops() -> None:
    bench = Bench(Chance(octet=0))
    bench.storage.record = counted(0xFFFFFFFC)
    bench.boot()
    seen = set()
    for _ in range(256):
        request = bench.wait_sent()
        seen.add(nonce(request.payload))
        bench.step(answer(request, code=UNAUTHORIZED))
        bench.entered.clear()
    assert nonce(request.payload) == numbered(0xFFFFFFFD00)
    assert len(seen) == 256
    assert bench.storage.saves == 1
    for _ in range(3):
        assert bench.wait() is None
        assert (bench.state, bench.registration.status, bench.wake) == ("REFUSED", None, None)
        assert bench.step() is None
        bench.start()
    assert bench.storage.record == counted(0xFFFFFFFD)
    bench.boot()
    assert bench.step() is None
    assert (bench.state, bench.registration.status, bench.wake) == ("REFUSED", None, None)
    assert bench.storage.saves == 1


def test_the_last_boot_counter_of_all_can_still_register_and_its_session_stays() -> None:
    bench = Bench(Chance(octet=0))
    bench.storage.record = counted(0xFFFFFFFC)
    bench.boot()
    for _ in range(255):
        bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
        bench.entered.clear()
    success = bench.offered()
    bench.boot()
    assert bench.wait_sent().payload == success.payload
    bench.step(answer(success, bench.server.confirm(success.payload)))
    bench.exhausted()
    assert bench.state == "CONFIRMING"
    again = bench.wait_sent()
    bench.step(answer(again, bench.server.confirm(again.payload)))
    assert bench.state == "REGISTERED"
    assert (bench.storage.record or b"")[:4] == b"\xff\xff\xff\xff"  # no block more: what is saved has room for it
    bench.boot()
    assert (bench.state, bench.registration.client_id) == ("REGISTERED", CLIENT_ID)
    bench.start()
    assert bench.step() is None
    assert bench.state == "REFUSED"


def test_a_retry_within_an_attempt_stops_at_the_end_of_the_boot_counter_too() -> None:
    bench = Bench(Chance(octet=0), versions=((2, 0), (1, 0)))
    bench.storage.record = counted(0xFFFFFFFC)
    bench.boot()
    for _ in range(255):
        bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
        bench.entered.clear()
    request = bench.wait_sent()
    assert bench.step(answer(request, bench.server.response(request.payload, status=1))) is None
    assert (bench.state, bench.registration.status, bench.wake) == ("REFUSED", None, None)


def test_a_boot_that_asks_for_nothing_uses_one_block_at_most() -> None:
    bench = Bench()
    success = bench.offered()
    assert (bench.storage.record or b"")[:4] == b"\0\0\0\2"
    for _ in range(5):
        bench.boot()
        success = bench.wait_sent()
    bench.step(answer(success, bench.server.confirm(success.payload)))
    for _ in range(5):
        assert bench.state == "REGISTERED"
        assert (bench.storage.record or b"")[:4] == b"\0\0\0\3"
        bench.boot()


def based(record: "bytes | None") -> "tuple[bytes, bytes]":
    """The URI and the base in a record with a session."""
    uri, _, base = (record or b"")[99:-16].partition(b"\0")
    return uri, base


def test_a_session_begins_with_a_block_of_its_own_and_the_same_write_names_the_next() -> None:
    for asked in (1, 2, 255, 256, 257):
        bench = Bench(Chance(octet=0))
        for _ in range(asked - 1):
            bench.step(answer(bench.wait_sent(), code=UNAUTHORIZED))
            bench.entered.clear()
        bench.offered()
        base = 1 if asked < 257 else 2
        record = bench.storage.record or b""
        assert (record[:4], based(record)) == ((base + 1).to_bytes(4, "big"), (b"", str(base).encode()))
        assert bench.registration._boot == base * 256  # its first number is 1
        saves = bench.storage.saves
        bench.boot()
        success = bench.wait_sent()
        bench.step(answer(success, bench.server.confirm(success.payload)))
        assert bench.storage.saves == saves + 1
        assert based(bench.storage.record) == (b"", str(base).encode())


def test_the_server_of_a_redirect_and_the_base_are_saved_side_by_side() -> None:
    bench = Bench()
    request = bench.wait_sent()
    away = bench.server.response(request.payload, status=6, server_uri="coap://192.0.2.2")
    request = bench.send(answer(request, away))
    success = bench.send(answer(request, bench.server.response(request.payload)))
    assert based(bench.storage.record) == (b"coap://192.0.2.2", b"1")
    bench.step(answer(success, bench.server.confirm(success.payload)))
    bench.boot()
    assert (bench.state, bench.registration.server) == ("REGISTERED", "coap://192.0.2.2")


def test_the_record_of_firmware_that_knew_no_session_is_read() -> None:
    for uri in ("", "coap://192.0.2.2"):
        bench = Bench()
        bench.registered(3600)
        record = bench.storage.record or b""
        bench.storage.record = sealed(b"\0\0\0\7" + record[4:99] + uri.encode())
        before = bench.registration
        bench.boot()
        after = bench.registration
        assert bench.state == "REGISTERED"
        assert (after.client_id, after.oscore, after.lifetime) == (CLIENT_ID, before.oscore, 3600)
        assert after.server == (uri or CREDENTIAL["server"])
        assert after._boot == 7 * 256
        bench.start()
        bench.registered()
        bench.boot()
        assert bench.state == "REGISTERED"


def test_a_response_that_cannot_be_saved_uses_a_block_all_the_same() -> None:
    bench = Bench(Chance(octet=0))
    request = bench.wait_sent()
    bench.storage.broken = True
    bench.send(answer(request, bench.server.response(request.payload)))
    assert bench.registration._end <= bench.registration._boot >> 8  # so that nothing is sent under its numbers
    bench.storage.broken = False
    bench.start()
    bench.boot()
    assert bench.state == "IDLE"
    assert bench.registration._boot == 256


def test_weak_entropy_makes_other_nonces_within_an_attempt() -> None:
    bench = Bench(Chance(octet=0), versions=((2, 0), (1, 0)))
    first = bench.wait_sent()
    away = bench.server.response(first.payload, status=6, server_uri="coap://192.0.2.2")
    second = bench.send(answer(first, away))
    third = bench.send(answer(second, bench.server.response(second.payload, status=1)))
    assert bench.entered == ["REQUESTING"]
    assert len({nonce(request.payload) for request in (first, second, third)}) == 3


def test_weak_entropy_makes_other_nonces_though_nothing_can_be_saved() -> None:
    bench = Bench(Chance(octet=0))
    bench.storage.broken = True
    seen = set()
    for _ in range(5):
        seen.add(nonce(bench.wait_sent().payload))
        bench.exhausted()
    assert len(seen) == 5
