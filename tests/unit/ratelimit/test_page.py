"""The page about the service says what the service does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from ratelimit.limit_reading import LIMIT_FIELDS
from ratelimit.metrics import Metrics
from ratelimit.rule_files import DESCRIPTOR_FIELDS, FILE_FIELDS, load_texts
from tollkeeper.settings import Settings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "ratelimit.md").read_text()


@pytest.mark.parametrize("fields", [FILE_FIELDS, DESCRIPTOR_FIELDS, LIMIT_FIELDS])
def test_every_field_is_explained(fields: dict[str, str]) -> None:
    """By its name, in the example of the format or in the text."""
    assert [name for name in fields if not re.search(rf"\b{name}:", PAGE)] == []


def test_the_example_of_parameters_loads() -> None:
    """As it stands on the page."""
    block = next(
        text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "quoted," in text
    )
    rules = load_texts({"page.yaml": f"domain: d\ndescriptors:\n{block}"})
    assert rules.warnings == []


def test_every_metric_is_listed() -> None:
    """Every family of the page of metrics, and every event that the code counts."""
    registry = CollectorRegistry()
    registry.register(Metrics(1))
    families = re.findall(r"# TYPE tollkeeper_ratelimit_(\w+)", generate_latest(registry).decode())
    assert len(families) > 10
    assert [name for name in families if name not in PAGE] == []
    sources = "".join(path.read_text() for path in (ROOT / "src" / "ratelimit").rglob("*.py"))
    events = set(re.findall(r'events\["(\w+)"\]', sources))
    assert len(events) == 9
    assert [event for event in events if f"`{event}`" not in PAGE] == []


def test_the_settings_that_are_named_exist() -> None:
    """Those that stand for envoyproxy/ratelimit's variables."""
    table = PAGE.partition("here, after `TOLLKEEPER_RATELIMIT_`")[2].partition("\n\n")[0]
    named = [
        name
        for row in table.splitlines()[2:]
        for name in re.findall("`([A-Z_]+)`", row.split("|")[2])
    ]
    assert len(named) > 16
    known = Settings.model_fields
    assert [name for name in named if f"ratelimit_{name.lower()}" not in known] == []
