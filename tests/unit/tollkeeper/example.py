"""The example configuration and the default settings, read once for tests that only look."""

from functools import cache
from pathlib import Path

from tollkeeper.config import Config, load_config
from tollkeeper.settings import Settings, load_settings

EXAMPLE = Path(__file__).parents[3] / "tollkeeper.yaml"


@cache
def default_settings() -> Settings:
    """What holds where nothing is set."""
    return load_settings()


@cache
def example_config() -> Config:
    """The example under the settings' defaults; nothing of it can be changed."""
    return load_config(EXAMPLE, default_settings())
