"""The headers that begin a call, and their memory.

A gateway sends the same headers with each call, and so the same block of bytes, once its table of
headers (RFC 7541, section 2.3.2) holds them. A block that changed nothing in that table says the
same again for as long as nothing else changes it: it is looked up as it is, and not unpacked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from hpack import Decoder
from hpack.exceptions import HPACKError

from tollkeeper.direct.frames import ConnectionFault, ErrorCode, StreamFault
from tollkeeper.unary.method import Method
from tollkeeper.unary.opening import find_method, read_headers
from tollkeeper.unary.status import CallFailed
from tollkeeper.unary.timeouts import Timeouts

MAX_HEADER_BYTES: Final = 16_384
"""Of all headers of a call, unpacked; a gateway sends some hundreds."""
MAX_KNOWN: Final = 256
MAX_KNOWN_BYTES: Final = 1_024
"""Blocks that are remembered for each connection, and the longest of them: a quarter of a MiB."""

_PSEUDO: Final = frozenset({b":method", b":scheme", b":path", b":authority"})
_NEEDED: Final = (b":method", b":scheme", b":path")
_OF_CONNECTIONS: Final = frozenset(
    {b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"}
)
Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Opening:
    """What the headers of a call said.

    ``fault`` answers the call when it is complete; without one there is a ``method``.
    ``body_bytes`` is the header ``content-length``, where it was sent.
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
            if not changed and len(block) <= MAX_KNOWN_BYTES and len(self._known) < MAX_KNOWN:
                self._known[block] = opening
        return opening

    def skip(self, block: bytes, stream: int) -> None:
        """Unpack a block that nobody needs (trailers), for the state of the table."""
        for name, _ in self._unpack(block)[1]:
            if name.startswith(b":"):
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)

    def _unpack(self, block: bytes) -> tuple[bool, list[Header]]:
        """Whether it changed the table, and the headers; a change makes what is known void."""
        before = self._table()
        try:
            found: Iterable[Header] = self._decoder.decode(block, raw=True)
            headers = [(bytes(name), bytes(value)) for name, value in found]
        except HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, repr(error)) from error
        size, newest = self._table()
        changed = size != before[0] or newest is not before[1]
        if changed:
            self._known.clear()
        return changed, headers

    def _table(self) -> tuple[int, object]:
        """The size of the table and its newest entry, which is another object after each entry."""
        entries = self._decoder.header_table.dynamic_entries
        return self._decoder.header_table_size, entries[0] if entries else None

    def _open(self, headers: list[Header], stream: int) -> Opening:
        pseudo = _judge(headers, stream)
        body_bytes = _content_length(headers, stream)
        try:
            http_method = pseudo[b":method"].decode("latin-1")
            method = find_method(self._methods, pseudo[b":path"].decode("latin-1"))
            encoding, timeout_s = read_headers(http_method, headers, self._timeouts)
        except CallFailed as fault:
            return Opening(None, b"", None, body_bytes, (), fault)
        return Opening(method, encoding, timeout_s, body_bytes, tuple(headers))


def _judge(headers: list[Header], stream: int) -> dict[bytes, bytes]:
    """The pseudo-headers of a well-formed request (RFC 9113, sections 8.2 and 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    regular = False
    for name, value in headers:
        if name.startswith(b":"):
            if regular or name in pseudo or name not in _PSEUDO:
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
            pseudo[name] = value
            continue
        regular = True
        if not name or name != name.lower() or name in _OF_CONNECTIONS:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
        if name == b"te" and value != b"trailers":
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
    if not all(pseudo.get(name) for name in _NEEDED):
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
    return pseudo


def _content_length(headers: list[Header], stream: int) -> int | None:
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18:  # int() takes more than digits
                raise StreamFault(ErrorCode.PROTOCOL_ERROR, stream)
            return int(value)
    return None
