"""What a resource answers: a response, or a refusal as all resources word it (docs/protocol.md, "CoAP binding")."""

from dataclasses import dataclass, field

from dpe_coap.binding import CONTENT_FORMAT_PROBLEM, Code, problem
from dpe_server.coap.datagram import CoapRequest, Method
from dpe_server.coap.options import Block
from dpe_server.handling.reply import Reply

_RESERVED_EXPONENT = 7


@dataclass(frozen=True, slots=True)
class CoapResponse:
    """A CoAP response without its header. ``size1`` is the largest payload in bytes that would be taken."""

    code: int
    payload: bytes = field(default=b"", repr=False)
    content_format: int | None = None
    max_age: int | None = None
    block1: Block | None = None
    block2: Block | None = None
    size1: int | None = None
    protected: bool = False
    """Whether the payload is a ciphertext: see ``Reply.protected``."""
    silent: bool = False
    """Whether nothing is sent, but for the acknowledgement of a confirmable request."""

    @classmethod
    def of(cls, reply: Reply) -> "CoapResponse":
        """Return what a handler replied."""
        return cls(reply.code, reply.payload, reply.content_format, reply.max_age, protected=reply.protected)


class RefusedError(Exception):
    """A request is refused; ``response`` says why."""

    def __init__(self, response: CoapResponse) -> None:
        super().__init__(response.code)
        self.response = response


def refused(code: int, title: str, detail: str | None = None, *, size1: int | None = None) -> RefusedError:
    """Return a refusal with problem details (RFC 9290)."""
    return RefusedError(CoapResponse(code, problem(title, detail=detail), CONTENT_FORMAT_PROBLEM, size1=size1))


def bad_option(number: int) -> RefusedError:
    """Return 4.02: the resource does not do what this critical option asks for."""
    return refused(Code.BAD_OPTION, "option not supported here", f"option {number}")


def check_method(request: CoapRequest, method: Method) -> None:
    """Raise RefusedError (4.05) for another method."""
    if request.code != method:
        raise refused(Code.METHOD_NOT_ALLOWED, "method not allowed here", f"{method.name} is")


def check_accept(request: CoapRequest, content_format: int) -> None:
    """Raise RefusedError (4.06) if the client accepts only another content format."""
    if request.accept not in (None, content_format):
        raise refused(Code.NOT_ACCEPTABLE, f"answers have content format {content_format}", f"accept {request.accept}")


def check_exponent(block: Block) -> Block:
    """Return the block, or raise RefusedError (4.00) if its size is the reserved one."""
    if block.exponent == _RESERVED_EXPONENT:
        raise refused(Code.BAD_REQUEST, "block size exponent 7 is reserved")
    return block
