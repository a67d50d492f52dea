"""A wall clock that can be put off, in every role of a chaos stack; Python loads this by its name.

``CHAOS_CLOCK`` names a file of eight bytes: by how many nanoseconds the clock of this process is
off. It is looked at with each question, so a running process has its clock put off and right again.
Replaced are ``time.time`` and ``time.time_ns``, by which our roles tell the time; what measures
durations (``time.monotonic``) and the clocks of Postgres, Redis and Envoy stay right.
"""

import mmap
import os
import struct
import time

_NANOS = 10**9


def _put_off(path: str) -> None:
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib would be loaded into every process
        off = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    read, true_ns = struct.Struct("<q").unpack_from, time.time_ns

    def time_ns() -> int:
        return true_ns() + int(read(off)[0])

    time.time_ns = time_ns
    time.time = lambda: time_ns() / _NANOS


if "CHAOS_CLOCK" in os.environ:
    _put_off(os.environ["CHAOS_CLOCK"])
