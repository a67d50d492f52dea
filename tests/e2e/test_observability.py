"""What people are told to look at exists: metrics of alerts and dashboard, runbooks of alerts."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families
from ruamel.yaml import YAML

from tests.e2e.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
CHECKED = 'tollkeeper_ledger_checked_timestamp_seconds{"scope": "whole"}'
NAME = re.compile(r"\btollkeeper_[a-z_]+")


def _alerts() -> list[dict[str, object]]:
    rules = YAML(typ="safe").load(ROOT / "observability" / "alerts.yaml")
    return [rule for group in rules["groups"] for rule in group["rules"]]


def _dashboard() -> list[str]:
    panels = json.loads((ROOT / "observability" / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


async def _shown(stage: Stage) -> set[str]:
    """Every name that a query may use, from the pages of all roles."""
    names: set[str] = set()
    async with httpx.AsyncClient() as client:
        for url in stage.stack.describe()["metrics"]:
            page = (await client.get(url)).text
            for family in text_string_to_metric_families(page):
                suffixes = {
                    "counter": ("_total",),
                    "histogram": ("_bucket", "_sum", "_count"),
                }.get(family.type, ("",))
                names.update(family.name + suffix for suffix in suffixes)
    return names


async def test_every_metric_that_an_alert_or_a_panel_names_is_shown(stage: Stage) -> None:
    """A query over a metric that no role shows would be silent for ever."""
    queries = [str(alert["expr"]) for alert in _alerts()] + _dashboard()
    asked = {name for query in queries for name in NAME.findall(query)}
    assert len(asked) > 25
    assert asked - await _shown(stage) == set()


async def test_the_books_are_watched_by_themselves(stage: Stage) -> None:
    """Soon after its start the role admin has checked the whole ledger, and says what stands."""
    url = f"{stage.stack.describe()['admin']}/metrics"
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while not (shown := _values((await client.get(url)).text)).get(CHECKED):
            await asyncio.sleep(0.2)
    broken = {name: value for name, value in shown.items() if "ledger_broken" in name}
    assert len(broken) >= 8
    assert not any(value > 0 for value in broken.values())
    assert shown['tollkeeper_reservations{"state": "pending"}'] >= 0
    assert shown['tollkeeper_doctor_findings{"part": "postgres", "verdict": "ok"}'] > 0


def _values(page: str) -> dict[str, float]:
    """The samples of a page of metrics, by name and labels."""
    return {
        f"{sample.name}{json.dumps(dict(sorted(sample.labels.items())))}": sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


async def test_every_alert_has_its_runbook() -> None:
    """Whoever is woken finds a page with the alert's own heading."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs/operating.md").read_text(), re.MULTILINE)
    assert [str(alert["alert"]) for alert in _alerts()] == headings


async def test_each_role_is_live_and_ready(stage: Stage) -> None:
    """The health pages answer, and readiness says what was looked at."""
    async with httpx.AsyncClient() as client:
        for url in stage.stack.describe()["metrics"]:
            base = url.removesuffix("/metrics")
            assert (await client.get(f"{base}/livez")).status_code == 200
            assert (await client.get(f"{base}/readyz")).status_code == 200
