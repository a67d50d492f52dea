"""Runs in the child, before the part: ties its life to its parent's, drops root, then executes it.

Usage: ``python launch.py PARENT_PID DEATH_SIGNAL USER|- PROGRAM ARGUMENT...``. Only the standard
library, so that it starts in a few milliseconds with ``python -I -S``.

Linux sends DEATH_SIGNAL when the thread that started the part ends (prctl, PR_SET_PDEATHSIG). The
setting survives execve and is cleared by a change of user, so the user changes first. Elsewhere
there is no such call, and only an orderly stop ends the part.

Postgres refuses to run as root. For root, USER names who it becomes. That user may not be able to
reach the checkout (a home or temporary directory that only root enters), so it keeps one capability
that lets it read and traverse; nothing has to be made readable for everybody. access(2), by which
initdb looks for its neighbours, heeds capabilities only with SECBIT_NO_SETUID_FIXUP, which also
keeps them over the change of user. A root that may not set that bit (some containers) keeps
nothing, and then the checkout has to be readable.
"""

import ctypes
import errno
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522
CAP_DAC_OVERRIDE = 1
CAP_DAC_READ_SEARCH = 2


class CapabilityHeader(ctypes.Structure):
    """The kernel's ``__user_cap_header_struct``; pid 0 is this process."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilityData(ctypes.Structure):
    """The kernel's ``__user_cap_data_struct``; version 3 takes two of them."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def main(arguments: list[str]) -> None:
    """Become the part; returns only by an exception."""
    parent_pid, death_signal, user, *program = arguments
    if user != "-":
        become(user)
    die_with_parent(int(parent_pid), int(death_signal))
    os.execv(program[0], program)  # noqa: S606 - the caller's own program, and no shell


def die_with_parent(parent_pid: int, death_signal: int) -> None:
    """Ask for ``death_signal`` at the parent's end; exits when it has ended already."""
    if not sys.platform.startswith("linux"):
        return
    call("prctl", PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit("launch: the parent ended before the part started")


def become(user: str) -> None:
    """Change to ``user`` for good, keeping the right to read and traverse."""
    entry = pwd.getpwnam(user)
    linux = sys.platform.startswith("linux")
    if linux:
        call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0, allowed=errno.EPERM)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    if linux:
        keep_reading()


def keep_reading() -> None:
    """Keep one capability: read and traverse, or the wider one where that is not held."""
    header, data = CapabilityHeader(CAPABILITY_VERSION_3, 0), (CapabilityData * 2)()
    call("capget", ctypes.byref(header), data)
    permitted = data[0].permitted
    held = [cap for cap in (CAP_DAC_READ_SEARCH, CAP_DAC_OVERRIDE) if permitted & (1 << cap)]
    kept = held[:1]
    mask = sum(1 << cap for cap in kept)
    data[0] = CapabilityData(mask, mask, mask)
    data[1] = CapabilityData(0, 0, 0)
    call("capset", ctypes.byref(header), data)
    for cap in kept:
        call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0)


def call(name: str, *arguments: object, allowed: int = 0) -> None:
    """Call a function of the C library; exits with its error, unless it is the allowed one."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0 and ctypes.get_errno() != allowed:
        sys.exit(f"launch: {name}: {os.strerror(ctypes.get_errno())}")


if __name__ == "__main__":
    main(sys.argv[1:])
