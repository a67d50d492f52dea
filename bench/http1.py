"""As much of HTTP/1.1 as a load generator needs: requests as bytes, answers by their length."""

from __future__ import annotations

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


def request_bytes(method: str, path: str, host: str, key: str, body: bytes) -> bytes:
    """A request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", f"host: {host}", f"authorization: Bearer {key}"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join(lines).encode() + _END + body


class Answers:
    """Cuts what arrives on a connection into answers."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[int]:
        """The statuses of the answers that are complete now; all must say their length."""
        self._data += data
        statuses = []
        while (head_end := self._data.find(_END)) >= 0:
            head = self._data[:head_end].lower()
            at = head.find(_LENGTH)
            if at < 0:
                raise ValueError("an answer without content-length")
            line_end = head.find(b"\r\n", at)
            length = int(head[at + len(_LENGTH) : line_end if line_end >= 0 else None])
            answer_end = head_end + len(_END) + length
            if len(self._data) < answer_end:
                break
            statuses.append(int(head[9:12]))
            self._data = self._data[answer_end:]
        return statuses
