"""Each message on its own: its security token is what the protocol says, and no other message has its nonce."""

from dpe_coap.numbers import MessageType
from dpe_tools.simulation.events import RequestSent, ResponseGiven, SuccessAnswered, SuccessSent
from dpe_tools.simulation.invariants import tokens
from dpe_tools.simulation.invariants.made import Messages
from dpe_tools.simulation.invariants.names import NONCES_DIFFER, TOKENS
from dpe_tools.simulation.world import World

_SUITE_X25519 = b"\x06\x58\x20"
"""Found in a RESPONSE with an ephemeral key: only the two sides can compute its security token."""


class TokensAndNonces:
    """Looks at the four messages when they are made."""

    def __init__(self, world: World, messages: Messages) -> None:
        self._fail = world.fail
        self._messages = messages
        self._nonces: dict[tuple[bytes, bytes], bytes] = {}
        """The message with each nonce, by its sender (a device, or empty for a server) and the nonce."""
        self._successes: set[bytes] = set()
        world.on(RequestSent, self._request)
        world.on(SuccessSent, self._success)
        world.on(ResponseGiven, self._response)
        world.on(SuccessAnswered, self._answered)

    def _request(self, event: RequestSent) -> None:
        known = self._messages.devices[event.device]
        new = self._is_new(event.device, event.request)
        if new and not tokens.request_is_valid(known.key, known.realm, event.request):
            self._fail(TOKENS, "REQUEST")

    def _success(self, event: SuccessSent) -> None:
        if event.success not in self._successes:
            self._successes.add(event.success)
            if not tokens.success_is_valid(event.prk3, event.success):
                self._fail(TOKENS, "SUCCESS")

    def _response(self, event: ResponseGiven) -> None:
        made = self._messages.requests.get(event.request)
        if made is not None and self._is_new(b"", event.response) and _SUITE_X25519 not in event.response:
            key = self._messages.devices[made.device].key
            if not tokens.response_is_valid(key, event.request, event.response):
                self._fail(TOKENS, "RESPONSE")

    def _answered(self, event: SuccessAnswered) -> None:
        made = self._messages.successes.get(event.success)
        if made is not None and event.confirm and not tokens.confirm_is_valid(made.prk3, made.th3, event.confirm):
            self._fail(TOKENS, "CONFIRM")

    def _is_new(self, owner: bytes, payload: bytes) -> bool:
        """Say whether a message has not been seen; then its nonce must not have been seen either."""
        nonce = owner, payload[-32:-16]
        before = self._nonces.get(nonce)
        if before is None:
            self._nonces[nonce] = payload
            return True
        if before != payload:
            self._fail(NONCES_DIFFER, f"of a {MessageType(payload[2]).name}")
        return False
