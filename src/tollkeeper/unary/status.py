"""gRPC statuses as this transport answers them.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md and .../statuscodes.md
"""

from __future__ import annotations

from enum import IntEnum
from urllib.parse import quote

MAX_MESSAGE_CHARS = 500
"""Of a status message: it goes into a header."""

_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


class Code(IntEnum):
    """The codes that can be answered here."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class CallFailed(Exception):
    """A call that ends with another status than OK."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def message_header(text: str) -> bytes:
    """The value of ``grpc-message``: percent-encoded, all but printable ASCII."""
    return quote(text[:MAX_MESSAGE_CHARS], safe=_PRINTABLE).encode()
