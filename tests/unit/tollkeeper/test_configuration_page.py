"""docs/configuration.md says what the code says."""

import json
import re
from pathlib import Path

from tollkeeper.config.problems import _KNOWN_KEYS
from tollkeeper.settings import ENV_PREFIX, Settings, load_settings

PAGE = (Path(__file__).parents[3] / "docs/configuration.md").read_text()
SECTIONS = {"match", "failure", "gateway"}
"""Keys that are explained by the keys inside them."""


def test_every_key_of_the_file_is_explained() -> None:
    """No key of tollkeeper.yaml is missing from the page."""
    prose = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)
    written = set(re.findall(r"[a-z_0-9]+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert sorted(_KNOWN_KEYS - SECTIONS - written) == []


def test_every_setting_has_its_row() -> None:
    """Each variable stands with its default and its reason, word by word."""
    defaults = load_settings().model_dump(mode="json")
    for name, field in Settings.model_fields.items():
        if name.removesuffix("_file") != name and name.removesuffix("_file") in defaults:
            continue  # said once, for all secrets
        row = f"| `{ENV_PREFIX}{name.upper()}` | {_shown(defaults[name])} | {field.description} |"
        assert row in PAGE, f"docs/configuration.md lacks: {row}"


def _shown(default: object) -> str:
    if default is None or default == {}:
        return "not set" if default is None else "none"
    return f"`{default}`" if isinstance(default, str) else json.dumps(default)
