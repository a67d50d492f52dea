"""``tollkeeper.yaml``: read, checked with file, line and key, and compiled for the doors."""

from tollkeeper.config.credentials import resolve_credentials
from tollkeeper.config.load import load_config
from tollkeeper.config.sale import compile_catalog, price_digest
from tollkeeper.config.schema import Config

__all__ = ["Config", "compile_catalog", "load_config", "price_digest", "resolve_credentials"]
