"""The terms of the symbolic models mean what the code computes.

Every term is evaluated with real primitives over the messages of the vectors: what it gives must be the key, the hash
or the MAC that dpe_coap has at that point. So a label, the order of a derivation, or what a MAC covers cannot differ
between model and code.
"""

import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from dpe_coap import keys, oscore
from dpe_coap.imei import Imei
from tests.formal.symbolic import Functions, bindings, evaluate, process, replaced, variants

VARIANTS = variants()
PLAIN, X25519 = VARIANTS["registration-plain"].text, VARIANTS["registration-x25519"].text

Values = dict[str, bytes]


# ---- the primitives, by their names in the models ----


def prf(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def extract(label: bytes) -> Any:
    return lambda key, data: prf(key, b"DPE-1/1 " + label + data)


def expand(label: bytes, size: int = 32) -> Any:
    return lambda key, data: prf(key, b"DPE-1/1 " + label + data + b"\x01")[:size]


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def functions(hkid: int, epoch: int) -> Functions:
    def aes(key: bytes) -> Any:
        return Cipher(algorithms.AES(key), modes.ECB())

    return {
        "L1": expand(b"m1"),
        "L2": expand(b"m2"),
        "L3": expand(b"m3"),
        "L4": expand(b"m4"),
        "Lprk2": extract(b"prk2"),
        "Lprk3": extract(b"prk3"),
        "Lseal": expand(b"seal", 17),
        "Lexp": extract(b"exp"),
        "mac": lambda key, data: prf(key, data)[:16],
        "h": lambda data: hashlib.sha256(data).digest(),
        "senc": xor,
        "sdec": xor,
        "seal": lambda i, r, key: bytes([hkid]) + aes(key).encryptor().update(bytes([epoch]) + i + r),
        "unseal": lambda handle, key: aes(key).decryptor().update(handle[1:])[1:8],
        "kdev": lambda key, i: expand(b"dev")(prf(b"DPE-1 master", key), bytes([epoch]) + i),
        "e": _x25519,
    }


def _x25519(public: bytes, private: bytes) -> bytes:
    own = X25519PrivateKey.from_private_bytes(private)
    if public == b"G":
        return own.public_key().public_bytes_raw()
    return own.exchange(X25519PublicKey.from_public_bytes(public))


# ---- what the code has ----


def inputs(v: Mapping[str, Any]) -> Values:
    """Return what the models' names stand for that are not bound by ``let``."""
    given = {
        "kmaster": "k_master", "khandle": "k_handle", "i": "imei", "h0": "handle", "hd": "handle",
        "nc": "nonce_c", "ns": "nonce_s", "r": "next_handle_random", "id": "client_id",
        "gx": "eph_c", "gy": "eph_s", "x": "eph_c_private", "y": "eph_s_private",
    }  # fmt: skip
    values = {name: bytes.fromhex(v[key]) for name, key in given.items() if key in v}
    values |= {"G": b"G", "realm": hashlib.sha256(v["realm"].encode()).digest()}
    values |= {f"b{number}": message[:-16] for number, message in enumerate(messages(v), 1)}
    values["sealed"] = xor(bytes.fromhex(v["next_handle"]), expand(b"seal", 17)(bytes.fromhex(v["prk2"]), b""))
    assert values["sealed"] in values["b2"]
    return values


def messages(v: Mapping[str, Any]) -> list[bytes]:
    return [bytes.fromhex(v[message]) for message in ("request", "response", "success", "confirm")]


Steps = tuple[keys.RequestStep, keys.ResponseStep, keys.SuccessStep, keys.ConfirmStep]


def steps(v: Mapping[str, Any]) -> Steps:
    """Walk the steps of dpe_coap over the vector's messages."""
    request, response, success, _ = messages(v)
    imei = Imei(bytes.fromhex(v["imei"]))
    kd = keys.MasterKey(v["epoch"], bytes.fromhex(v["k_master"])).device_key(imei)
    dh = b""
    if v["suite"] == 2:
        dh = bytes.fromhex(v["eph_s"]) + keys.agree(bytes.fromhex(v["eph_s_private"]), bytes.fromhex(v["eph_c"]))
    first = keys.RequestStep.of(kd, v["realm"])
    second = first.respond(request, bytes.fromhex(v["nonce_s"]), dh)
    third = second.next(response)
    return first, second, third, third.next(success)


def expected(v: Mapping[str, Any]) -> Values:
    """Return what dpe_coap computes of the vector's messages, under the models' names."""
    first, second, third, fourth = steps(v)
    macs = [step.sign(message)[-16:] for step, message in zip(steps(v), messages(v), strict=True)]
    kx = prf(fourth.prk3, b"DPE-1/1 exp" + fourth.th3)
    assert expand(b"oscore", 24)(kx, b"") == b"".join(fourth.export())
    next_handle = bytes.fromhex(v["next_handle"])
    return {
        "i": bytes.fromhex(v["imei"]), "kd": first.device_key, "gy": bytes.fromhex(v.get("eph_s", "")),
        "k1": first.mac_key, "k2": second.mac_key, "k3": third.mac_key, "k4": fourth.mac_key,
        "mac1": macs[0], "mac2": macs[1], "mac3": macs[2], "mac4": macs[3],
        "th1": second.th1, "th2": third.th2, "th3": fourth.th3,
        "prk2": second.prk2, "prk3": third.prk3, "kx": kx,
        "ks": second.mask(bytes(17)), "hn": next_handle, "hnext": next_handle,
    }  # fmt: skip


# ---- the checks ----


def differences(text: str, name: str, v: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> list[str]:
    """Return which terms of a process give something else than the code has; empty: it agrees."""
    code, values, found = expected(v), inputs(v), []
    primitives = functions(v["hkid"], v["epoch"])
    compared = set()
    for bound, term in bindings(process(text, name)):
        known = (aliases or {}).get(bound, bound)
        if known.startswith("b"):
            continue  # a message: its fields are compared by their names
        values[bound] = evaluate(term, values, primitives)
        compared.add(known)
        if values[bound] != code[known]:
            found.append(f"{bound} = {term}")
            values[bound] = code[known]
    assert compared >= {"kd", "mac1", "th1", "prk2", "mac2", "th2", "k3"}, compared
    return found


@pytest.fixture(scope="module")
def complete(vectors: dict[str, Any]) -> list[dict[str, Any]]:
    """The vectors of whole registrations by handle; a clear IMEI, of the laboratory, is not modelled."""
    found = [v for v in vectors["valid"] if "confirm" in v and not v["name"].startswith("clear IMEI")]
    assert {v["suite"] for v in found} == {1, 2}
    return found


@pytest.mark.parametrize("name", ["Client", "Server"])
@pytest.mark.parametrize("model", ["registration", "every-field", "forward-secrecy"])
def test_the_terms_are_the_codes(model: str, name: str, complete: list[dict[str, Any]]) -> None:
    for v in complete:
        suite = "-x25519" if v["suite"] == 2 else "-plain"
        if model == "every-field":
            suite = ""
            if v["suite"] == 2:
                continue
        assert differences(VARIANTS[model + suite].text, name, v) == [], v["name"]


@pytest.mark.parametrize("name", ["Client", "ServerRefuse"])
def test_the_terms_of_anonymity_and_of_a_refusal_too(name: str, complete: list[dict[str, Any]]) -> None:
    v = next(v for v in complete if v["suite"] == 1)
    if name == "Client":
        aliases = {"m1": "mac1", "t2": "mac2"}
        assert differences(VARIANTS["anonymity"].text, name, v, aliases) == []
    else:  # a refusal has no transcript beyond its RESPONSE
        terms = dict(bindings(process(PLAIN, name)))
        server = dict(bindings(process(PLAIN, "Server")))
        assert {bound: term for bound, term in terms.items() if bound != "b2"} == {
            bound: server[bound] for bound in ("i", "kd", "k1", "mac1", "th1", "prk2", "k2", "mac2")
        }


FAULTS = [
    ("kdf(prk2, L2)", "kdf(prk2, L3)"),
    ("kdf(prk3, L3)", "kdf(prk3, L4)"),
    ("kdf(prk2, Lseal)", "kdf(prk2, L2)"),
    ("(L1, realm)", "(L2, realm)"),
    ("(L1, realm)", "L1"),
    ("(Lprk2, th1, ns)", "(Lprk2, ns, th1)"),
    ("(Lprk2, th1, ns)", "(Lprk2, th1)"),
    ("kdf(prk2, (Lprk3, th2))", "kdf(kd, (Lprk3, th2))"),
    ("(Lprk3, th2)", "(Lprk3, th1)"),
    ("(Lexp, th3)", "(Lexp, th2)"),
    ("h((th1, b2, mac2))", "h((th1, b2))"),
    ("h((th2, b3, mac3))", "h((b3, mac3))"),
    ("mac(k4, (th3, b4))", "mac(k4, b4)"),
    ("mac(k4, (th3, b4))", "mac(k3, (th3, b4))"),
    ("kdev(kmaster, i)", "kdev(khandle, i)"),
]


@pytest.mark.parametrize(("old", "new"), FAULTS)
@pytest.mark.parametrize("name", ["Client", "Server"])
def test_a_term_that_differs_is_found(name: str, old: str, new: str, complete: list[dict[str, Any]]) -> None:
    v = next(v for v in complete if v["suite"] == 1)
    assert differences(replaced(PLAIN, [[old, new]]), name, v) != []


@pytest.mark.parametrize(
    ("name", "old", "new"), [("Client", "gy, e(gy,x)", "e(gy,x)"), ("Server", "gy, e(gx,y)", "gx, e(gx,y)")]
)
def test_a_term_of_x25519_that_differs_is_found(name: str, old: str, new: str, complete: list[dict[str, Any]]) -> None:
    v = next(v for v in complete if v["suite"] == 2)
    assert differences(replaced(X25519, [[old, new]]), name, v) != []


def test_every_byte_before_a_mac_is_under_it(complete: list[dict[str, Any]]) -> None:
    for v in complete:
        for step, message in zip(steps(v), messages(v), strict=True):
            assert step.verify(message)
            for at in range(len(message)):
                changed = message[:at] + bytes([message[at] ^ 1]) + message[at + 1 :]
                assert not step.verify(changed), (v["name"], type(step).__name__, at)


def test_mutants_differ_from_the_code_where_it_is_a_matter_of_terms(complete: list[dict[str, Any]]) -> None:
    v = next(v for v in complete if v["suite"] == 1)
    assert differences(VARIANTS["mutant-confirm-like-success"].text, "Server", v) != []
    with pytest.raises(KeyError):  # its MAC is not over the message
        differences(VARIANTS["mutant-status-outside-the-mac"].text, "Server", v)


# ---- one exchange of the session ----

EXCHANGES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "session-vectors.json").read_text(encoding="utf-8")
)


def of_oscore(client_id: bytes, number: int) -> Functions:
    """The primitives of an exchange: a number is in the nonce and, with the Client ID, in the additional data."""

    def keys_of(kx: bytes) -> oscore.Keys:
        export = expand(b"oscore", 24)(kx, b"")
        return oscore.derive(export[:16], export[16:], client_id)

    def with_nonce(cipher: Any) -> Any:
        def apply(data: bytes, iv: bytes, beside: bytes, key: bytes) -> bytes:
            assert beside == client_id + oscore.partial_iv(number)
            found = cipher(key, oscore.nonce(iv, client_id, number), oscore.additional_data(client_id, number), data)
            assert isinstance(found, bytes), "the term does not open it"
            return found

        return apply

    return {
        "Lc": lambda kx, sender: keys_of(kx).client if sender == client_id else b"",
        "Ls": lambda kx, _: keys_of(kx).server,
        "Liv": lambda kx, _: keys_of(kx).common_iv,
        "aead": with_nonce(oscore.encrypt),
        "unaead": with_nonce(oscore.decrypt),
    }


def differing_in_session(text: str, name: str, v: Mapping[str, Any], exchange: Mapping[str, Any]) -> set[str]:
    """Return what a process computes in the session that is not what the exchange of the vectors has."""
    e = {key: bytes.fromhex(exchange[key]) for key in exchange if key not in ("name", "case", "sequence_number")}
    number = exchange["sequence_number"]
    code = {
        "kc": e["client_key"], "kr": e["server_key"], "v": e["common_iv"],
        "report": e["request_plaintext"], "policies": e["response_plaintext"],
    }  # fmt: skip
    code |= {
        side: e[m][-8 - len(code[p]) :]
        for side, m, p in (("asked", "request", "report"), ("told", "response", "policies"))
    }
    values = code | {"kx": expected(v)["kx"], "id": e["client_id"], "n": oscore.partial_iv(number)}
    primitives = of_oscore(e["client_id"], number)
    terms = [(bound, term) for bound, term in bindings(process(text, name)) if bound in code]
    assert {bound for bound, _ in terms} >= {"kc", "kr", "v"}
    return {bound for bound, term in terms if evaluate(term, values, primitives) != code[bound]}


@pytest.mark.parametrize("name", ["Client", "Server"])
def test_the_terms_of_an_exchange_are_the_codes(name: str, complete: list[dict[str, Any]]) -> None:
    by_name = {v["name"]: v for v in complete}
    compared = 0
    for exchange in EXCHANGES:
        if exchange["name"] in by_name:
            v = by_name[exchange["name"]]
            assert differing_in_session(VARIANTS["session"].text, name, v, exchange) == set(), exchange["case"]
            compared += 1
    assert compared > 20


@pytest.mark.parametrize(
    ("old", "new", "wrong"), [("kdf(kx, Ls)", "kdf(kx, (Lc, id))", {"kr"}), ("kdf(kx, Liv)", "kdf(kx, Ls)", {"v"})]
)
def test_a_term_of_the_session_that_differs_is_found(
    old: str, new: str, wrong: set[str], complete: list[dict[str, Any]]
) -> None:
    text = replaced(VARIANTS["session"].text, [[old, new]])
    for name in ("Client", "Server"):
        exchange = next(e for e in EXCHANGES if e["name"] == complete[0]["name"])
        assert differing_in_session(text, name, complete[0], exchange) == wrong
