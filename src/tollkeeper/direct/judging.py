"""Whether frames that steer a connection are well-formed (RFC 9113, section 6)."""

from __future__ import annotations

from typing import NoReturn

from tollkeeper.direct.frames import (
    ACK,
    MAX_FRAME_BYTES,
    MAX_WINDOW_BYTES,
    STREAM_BITS,
    ConnectionFault,
    ErrorCode,
    Setting,
    StreamFault,
    number_of,
)

_MOST: dict[int, tuple[int, int, ErrorCode]] = {
    Setting.ENABLE_PUSH: (0, 1, ErrorCode.PROTOCOL_ERROR),
    Setting.INITIAL_WINDOW_SIZE: (0, MAX_WINDOW_BYTES, ErrorCode.FLOW_CONTROL_ERROR),
    Setting.MAX_FRAME_SIZE: (MAX_FRAME_BYTES, (1 << 24) - 1, ErrorCode.PROTOCOL_ERROR),
}
"""The least and the most of a setting, and the error of one beyond."""
_SETTING_BYTES, _KEY_BYTES = 6, 2


def of_connection(number: int, what: str) -> None:
    """Refuse a frame that speaks of the connection and names a stream."""
    if number:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} belongs to the connection")


def begun(number: int, last: int, what: str) -> None:
    """Refuse a frame of a stream that the client did not begin; ours have even numbers."""
    if number > last or number & 1 == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} of what was not begun")


def settings(flags: int, number: int, payload: bytes) -> dict[int, int]:
    """The settings of the peer, the last of each; none in an acknowledgement."""
    of_connection(number, "a setting")
    if len(payload) % _SETTING_BYTES or (flags & ACK and payload):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings are six bytes each")
    starts = range(0, len(payload), _SETTING_BYTES)
    return dict(_setting(payload[at : at + _SETTING_BYTES]) for at in starts)


def _setting(six: bytes) -> tuple[int, int]:
    key, value = number_of(six[:_KEY_BYTES]), number_of(six[_KEY_BYTES:])
    least, most, code = _MOST.get(key, (0, value, ErrorCode.NO_ERROR))
    if not least <= value <= most:
        raise ConnectionFault(code, f"setting {key} cannot be {value}")
    return key, value


def ping(number: int, payload: bytes) -> None:
    """Refuse what is no ping."""
    of_connection(number, "a ping")
    if len(payload) != 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a ping is eight bytes")


def reset(number: int, last: int, payload: bytes) -> None:
    """Refuse what is no reset of a stream up to the ``last`` that was begun."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a reset is four bytes")
    begun(number, last, "a reset")


def window(number: int, last: int, payload: bytes) -> int:
    """By how many bytes a window grows: that of a stream, or of the connection (0)."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a window is four bytes")
    if number:
        begun(number, last, "a window")
    by_bytes = number_of(payload) & STREAM_BITS
    if by_bytes == 0 and number:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, number)
    if by_bytes == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that does not grow")
    return by_bytes


def priority(number: int, last: int, payload: bytes) -> None:
    """Refuse what is no priority; nothing is preferred here (section 5.3.2)."""
    if number == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "priorities are of streams")
    if len(payload) != 5:
        _refuse(ErrorCode.FRAME_SIZE_ERROR, number, last)
    if number_of(payload[:4]) & STREAM_BITS == number:
        _refuse(ErrorCode.PROTOCOL_ERROR, number, last)


def _refuse(code: ErrorCode, number: int, last: int) -> NoReturn:
    """A stream that was not begun cannot be reset: there the connection ends."""
    if number > last or number & 1 == 0:
        raise ConnectionFault(code, "a broken priority")
    raise StreamFault(code, number)


def going_away(number: int, payload: bytes) -> None:
    """Refuse what is no farewell."""
    of_connection(number, "going away")
    if len(payload) < 8:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a farewell is eight bytes and more")
