"""Whether frames that steer a connection are well-formed (RFC 9113, section 6)."""

from __future__ import annotations

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


def settings(flags: int, number: int, payload: bytes) -> list[tuple[int, int]]:
    """The settings of the peer; none in an acknowledgement."""
    of_connection(number, "a setting")
    if len(payload) % _SETTING_BYTES or (flags & ACK and payload):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "settings are six bytes each")
    starts = range(0, len(payload), _SETTING_BYTES)
    return [_setting(payload[at : at + _SETTING_BYTES]) for at in starts]


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
    if not 0 < number <= last:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a reset of what was not begun")


def window(number: int, last: int, payload: bytes) -> int:
    """By how many bytes a window grows."""
    if len(payload) != 4:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a window is four bytes")
    if number > last:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window of what was not begun")
    by_bytes = number_of(payload) & STREAM_BITS
    if by_bytes == 0 and number:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, number)
    if by_bytes == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that does not grow")
    return by_bytes


def priority(number: int, payload: bytes) -> None:
    """Refuse what is no priority; nothing is preferred here (section 5.3.2)."""
    if number == 0:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "priorities are of streams")
    if len(payload) != 5:
        raise StreamFault(ErrorCode.FRAME_SIZE_ERROR, number)
    if number_of(payload[:4]) & STREAM_BITS == number:
        raise StreamFault(ErrorCode.PROTOCOL_ERROR, number)
