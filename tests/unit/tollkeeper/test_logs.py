"""Log lines as machines read them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from accesslog.notices import Told
from tollkeeper.logs import HIDDEN, set_up_logs
from tollkeeper.wiring.accesslog import warn

KEY = "tk_" + "a" * 38
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """What was written; logging is as before afterwards."""
    root, written = logging.getLogger(), io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    handlers, level = root.handlers[:], root.level
    set_up_logs("tests")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_every_line_is_an_object_with_role_and_time(lines: Lines) -> None:
    """Our own records and those of libraries alike, with what they are about."""
    structlog.get_logger("ours").info("said", request_id="r", account="a")
    logging.getLogger("theirs").warning("told %s", "so", extra={"request_id": "q"})
    ours, theirs = lines()
    assert (ours["event"], ours["logger"], ours["level"]) == ("said", "ours", "info")
    assert (ours["role"], ours["request_id"], ours["account"]) == ("tests", "r", "a")
    assert (theirs["event"], theirs["request_id"], theirs["role"]) == ("told so", "q", "tests")
    assert ours["timestamp"].endswith("Z")


def test_a_notice_names_its_request_and_account(lines: Lines) -> None:
    """Ids are fields of their own, not words of a text."""
    warn(Told("conflict: again", {"request_id": "r", "account": "a"}))
    warn("the sweep stopped early")
    first, second = lines()
    assert (first["event"], first["request_id"], first["account"]) == ("conflict: again", "r", "a")
    assert second["event"] == "the sweep stopped early"


@pytest.mark.parametrize(
    "text",
    [
        f"no such key {KEY}",
        "cannot reach postgresql://me:hunter2@db/x",
        "rediss://:hunter2@h:1/0 is away",
        "sent authorization: Bearer hunter2",
    ],
)
def test_a_secret_in_the_text_of_a_fault_is_hidden(lines: Lines, text: str) -> None:
    """In messages and in tracebacks, and the line is still an object."""
    log = structlog.get_logger("ours")
    log.warning(text)
    log.error("it failed", exc_info=ValueError(text))
    found = lines()
    assert len(found) == 2
    for line in found:
        assert "hunter2" not in json.dumps(line)
        assert KEY not in json.dumps(line)
        assert HIDDEN in json.dumps(line)
