"""Peers, built or installed at pinned versions below ``.run/peers``; nothing of them is committed.

Each function returns how to run one, or raises :class:`PeerMissing` with what lacks here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

GO_SOURCE = Path(__file__).with_name("go")
RATELIMIT = "github.com/envoyproxy/ratelimit/src/service_cmd"
RATELIMIT_VERSION = "v1.4.1-0.20260122083618-3fb702589d36"
LITELLM = "litellm[proxy]==1.80.0"
BUILD_S = 600


class PeerMissing(Exception):
    """A peer cannot be had here; says why."""


def build_go_check(place: Path) -> Path:
    """Our own do-nothing check over grpc-go."""
    return _built(place / "nothing", ("go", "build", "-o", str(place / "nothing"), "."), GO_SOURCE)


def install_ratelimit(place: Path) -> Path:
    """envoyproxy/ratelimit through Go's module proxy."""
    argv = ("go", "install", f"{RATELIMIT}@{RATELIMIT_VERSION}")
    return _built(place / "service_cmd", argv, place, {"GOBIN": str(place)})


def install_litellm(place: Path) -> Path:
    """LiteLLM's proxy in an environment of its own."""
    environment = place / "litellm"
    program = environment / "bin" / "litellm"
    if not program.exists():
        _run((sys.executable, "-m", "venv", str(environment)), place)
        pip = str(environment / "bin" / "pip")
        _run((pip, "install", "--quiet", "--disable-pip-version-check", LITELLM), place)
    return program


def _built(
    program: Path, argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None
) -> Path:
    if program.exists():
        return program
    if shutil.which(argv[0]) is None:
        raise PeerMissing(f"{argv[0]} is not installed")
    _run(argv, folder, env)
    return program


def _run(argv: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=BUILD_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"{argv[0]} took longer than {BUILD_S} s") from error
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise PeerMissing(f"{' '.join(argv[:2])} failed: {''.join(last)}")
