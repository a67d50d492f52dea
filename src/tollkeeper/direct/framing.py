"""From bytes to frames: the peer's greeting, then one frame after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tollkeeper.direct.frames import (
    HEAD,
    HEAD_BYTES,
    MAX_FRAME_BYTES,
    PREFACE,
    STREAM_BITS,
    ConnectionFault,
    ErrorCode,
    Kind,
    StreamFault,
)

Taker = Callable[[int, int, bytes], None]
"""Takes the flags of a frame, its stream and its payload."""


class FrameReader:
    """Gives each frame to the taker of its kind; kinds without one are passed over.

    ``greeted`` when the peer has said that it speaks HTTP/2; ``only`` is the one kind that may come
    next, where there is one. A stream's fault goes to ``refuse``, a connection's rises.
    """

    def __init__(self, takers: Mapping[int, Taker], refuse: Callable[[StreamFault], None]) -> None:
        self._takers = takers
        self._refuse = refuse
        self._buffer = b""
        self.greeted = False
        self.only: Kind | None = None

    def feed(self, data: bytes) -> None:
        """Take all frames that are complete with these bytes."""
        self._buffer = self._buffer + data if self._buffer else data
        if self.greeted or self._greet():
            self._take_frames()

    def _greet(self) -> bool:
        """Whether the greeting is there; settings are its second half (RFC 9113, section 3.4)."""
        buffer = self._buffer
        if not PREFACE.startswith(buffer[: len(PREFACE)]):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "no HTTP/2")
        if len(buffer) < len(PREFACE) + HEAD_BYTES:
            return False
        if buffer[len(PREFACE) + 3] != Kind.SETTINGS:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "settings come first")
        self._buffer = buffer[len(PREFACE) :]
        self.greeted = True
        return True

    def _take_frames(self) -> None:
        buffer, at, end = self._buffer, 0, len(self._buffer)
        read_head, takers = HEAD.unpack_from, self._takers
        while end - at >= HEAD_BYTES:
            high, low, kind, flags, number = read_head(buffer, at)
            size = high << 8 | low
            if size > MAX_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a frame above the limit")
            begins = at + HEAD_BYTES
            if begins + size > end:
                break
            at = begins + size
            if self.only is not None and kind != self.only:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers go on first")
            taker = takers.get(kind)
            if taker is not None:
                try:
                    taker(flags, number & STREAM_BITS, buffer[begins:at])
                except StreamFault as fault:
                    self._refuse(fault)
        self._buffer = buffer[at:]
