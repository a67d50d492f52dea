"""What a role says of its health."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry
from starlette.testclient import TestClient

from tollkeeper import pages as pages_module
from tollkeeper.pages import Check, Notice, pages


def saying(text: str) -> Check:
    async def check() -> str:
        return text

    return check


async def never() -> str:
    await asyncio.Event().wait()
    return ""


def ready(**checks: Check) -> tuple[int, dict[str, str]]:
    answer = TestClient(pages(CollectorRegistry(), checks)).get("/readyz")
    return answer.status_code, answer.json()


def test_readiness_tells_what_is_wrong() -> None:
    """One fault makes the role unready, and every check is told."""
    assert ready(one=saying(""), two=saying("")) == (200, {"one": "ok", "two": "ok"})
    assert ready(one=saying(""), two=saying("away")) == (503, {"one": "ok", "two": "away"})


def test_a_notice_takes_no_role_away() -> None:
    """What only a person can mend is told, and the role goes on being asked."""
    assert ready(config=saying(Notice("line 3"))) == (200, {"config": "line 3"})
    assert ready(config=saying(Notice(""))) == (200, {"config": "ok"})
    found = ready(config=saying(Notice("line 3")), store=saying("away"))
    assert found == (503, {"config": "line 3", "store": "away"})


def test_a_check_that_hangs_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever to hear that something does not answer."""
    monkeypatch.setattr(pages_module, "CHECK_TIMEOUT_S", 0.01)
    status, said = ready(store=never)
    assert status == 503
    assert "did not answer" in said["store"]
