"""What the headers of a call say: which method, in which encoding, and how long the client waits.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tollkeeper.unary.frames import refuse_encoding
from tollkeeper.unary.method import Method
from tollkeeper.unary.status import CallFailed, Code
from tollkeeper.unary.timeouts import Timeouts

_GRPC = b"application/grpc"


def find_method(methods: Mapping[str, Method], path: str) -> Method:
    """The method of that path; :class:`CallFailed` where there is none."""
    method = methods.get(path)
    if method is None:
        raise CallFailed(Code.UNIMPLEMENTED, f"no method {path}")
    return method


def read_headers(
    http_method: str, headers: Iterable[tuple[bytes, bytes]], timeouts: Timeouts
) -> tuple[bytes, float | None]:
    """The encoding of the message and the seconds that the client gives it, ``None`` for any time.

    Raises :class:`CallFailed` for what is no gRPC call.
    """
    encoding, timeout_s, is_grpc = b"", None, False
    for name, value in headers:
        if name == b"grpc-timeout":
            timeout_s = timeouts.read(value)
        elif name == b"content-type":
            is_grpc = value.startswith(_GRPC)
        elif name == b"grpc-encoding":
            encoding = value
            if fault := refuse_encoding(value):
                raise fault
    if not is_grpc or http_method != "POST":
        raise CallFailed(Code.INTERNAL, "no gRPC call: POST with application/grpc")
    return encoding, timeout_s
