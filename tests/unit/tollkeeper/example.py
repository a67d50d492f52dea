"""The example configuration, read once for all tests that only look at it."""

from functools import cache
from pathlib import Path

from tollkeeper.config import Config, load_config
from tollkeeper.settings import load_settings

EXAMPLE = Path(__file__).parents[3] / "tollkeeper.yaml"


@cache
def example_config() -> Config:
    """The example under the settings' defaults; nothing of it can be changed."""
    return load_config(EXAMPLE, load_settings())
