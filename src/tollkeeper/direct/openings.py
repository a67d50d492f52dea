"""The headers that begin a call, and their memory.

A gateway sends the same headers with each call, and so the same block of bytes, once its table of
headers (RFC 7541, section 2.3.2) holds them. A block that changed nothing in that table says the
same again for as long as nothing else changes it: it is looked up as it is, and not unpacked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError

from tollkeeper.direct.frames import ConnectionFault, ErrorCode, StreamFault
from tollkeeper.unary.method import Method
from tollkeeper.unary.opening import find_method, read_headers
from tollkeeper.unary.status import CallFailed, Code
from tollkeeper.unary.timeouts import Timeouts
from tollkeeper.unary.trace_headers import TRACE_HEADERS

MAX_HEADER_BYTES: Final = 16_384
"""Of all headers of a call, unpacked; a gateway sends some hundreds."""
MAX_KNOWN: Final = 256
MAX_KNOWN_BYTES: Final = 1_024
"""Blocks that are remembered for each connection, and the longest of them: a quarter of a MiB, and
as much again for what they say."""
MAX_PATH_BYTES: Final = 256
MAX_TRACE_BYTES: Final = 512
"""Of ``traceparent`` and of ``tracestate``; longer ones are passed over."""

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED: Final = (b":method", b":scheme", b":path")
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
_NAME: Final = re.compile(rb"[!-9;-@\[-~]+")
"""What a name may consist of: visible ASCII without capitals and colons (section 8.2.1)."""
_FORBIDDEN: Final = re.compile(rb"[\0\r\n]")
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Opening:
    """What the headers of a call said.

    ``fault`` answers the call when it is complete; without one there is a ``method``.
    ``body_bytes`` is the header ``content-length``, where it was sent. Of ``headers`` only those
    of traces are kept: a client decides how many there are, and how long they stay.
    """

    method: Method | None
    encoding: bytes
    timeout_s: float | None
    body_bytes: int | None
    headers: tuple[Header, ...]
    fault: CallFailed | None = None


class Openings:
    """Reads the headers of one connection."""

    def __init__(self, methods: Mapping[str, Method], timeouts: Timeouts) -> None:
        self._methods = methods
        self._timeouts = timeouts
        self._decoder = Decoder(max_header_list_size=MAX_HEADER_BYTES)
        self._known: dict[bytes, Opening] = {}

    def read(self, block: bytes, stream: int) -> Opening:
        """What a block says.

        Raises :class:`ConnectionFault` when it cannot be unpacked, :class:`StreamFault` when it is
        no request.
        """
        opening = self._known.get(block)
        if opening is None:
            changed, headers = self._unpack(block)
            opening = self._open(headers, stream)
            if not changed:
                self._remember(block, opening)
        return opening

    def skip(self, block: bytes, stream: int) -> None:
        """Unpack a block that nobody needs (trailers), for the state of the table."""
        for name, _ in self._unpack(block)[1]:
            if name.startswith(b":"):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)

    def _remember(self, block: bytes, opening: Opening) -> None:
        if opening.fault is None and len(block) <= MAX_KNOWN_BYTES and len(self._known) < MAX_KNOWN:
            self._known[block] = opening

    def _unpack(self, block: bytes) -> tuple[bool, list[Header]]:
        """Whether it changed the table, and the headers; a change makes what is known void."""
        size, length, newest = self._table()
        try:
            found: Iterable[Header] = self._decoder.decode(block, raw=True)
            headers = [(bytes(name), bytes(value)) for name, value in found]
        except HPACKError as error:
            # Its text may be the headers of somebody.
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, type(error).__name__) from None
        now = self._table()
        changed = now[:2] != (size, length) or now[2] is not newest
        if changed:
            self._known.clear()
        return changed, headers

    def _table(self) -> tuple[int, int, object]:
        """The size of the table, how many entries it has, and the newest: another object after
        each insertion. A table that was made smaller and large again has fewer of them."""
        entries = self._decoder.header_table.dynamic_entries
        newest = entries[0] if entries else None
        return self._decoder.header_table_size, len(entries), newest

    def _open(self, headers: list[Header], stream: int) -> Opening:
        pseudo = _judge(headers, stream)
        body_bytes = _content_length(headers, stream)
        try:
            http_method = pseudo[b":method"].decode("latin-1")
            method = find_method(self._methods, _path(pseudo))
            encoding, timeout_s = read_headers(http_method, headers, self._timeouts)
        except CallFailed as fault:
            # Where it rose holds all of the headers.
            return Opening(None, b"", None, body_bytes, (), fault.with_traceback(None))
        return Opening(method, encoding, timeout_s, body_bytes, _traces(headers))


def _judge(headers: list[Header], stream: int) -> dict[bytes, bytes]:
    """The pseudo-headers of a well-formed request (RFC 9113, sections 8.2 and 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if _FORBIDDEN.search(value):
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _PSEUDO:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
            pseudo[name] = value
            continue
        regular = True
        if not _NAME.fullmatch(name) or name in _OF_CONNECTIONS:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
        if name == b"te" and value != b"trailers":
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
    if not all(pseudo.get(name) for name in _NEEDED):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
    return pseudo


def _content_length(headers: list[Header], stream: int) -> int | None:
    """The length that is declared, which may be said twice when it is the same."""
    said = {value for name, value in headers if name == b"content-length"}
    if not said:
        return None
    value = said.pop()
    if said or not value.isdigit() or len(value) > 18:  # int() takes more than digits
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
    return int(value)


def _path(pseudo: dict[bytes, bytes]) -> str:
    path = pseudo[b":path"]
    if len(path) > MAX_PATH_BYTES:
        raise CallFailed(Code.UNIMPLEMENTED, "no method has so long a path")
    return path.decode("latin-1")


def _traces(headers: list[Header]) -> tuple[Header, ...]:
    found = {name: value for name, value in headers if name in TRACE_HEADERS}
    return tuple(header for header in found.items() if len(header[1]) <= MAX_TRACE_BYTES)
