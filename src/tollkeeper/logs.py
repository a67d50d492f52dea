"""Logs: one JSON object per line on stderr, with the role, and never a key, a body or a
credential."""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

import structlog

LEVELS = logging.getLevelNamesMapping

_SECRETS = re.compile(
    r"tk_[0-9A-Za-z]{10,}"  # a key of ours
    r"|(?<=://)[^/\s:@\"]*:[^/\s@\"]+(?=@)"  # user and password of a URL
    r"|(?i:(?<=bearer )[^\s\"\\]+)"
)
HIDDEN = "[hidden]"


_render = structlog.processors.JSONRenderer()


def render(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
    """One line of JSON. Nothing of ours writes a secret, but the text of a fault may hold one, so
    what looks like one is hidden."""
    line = _render(logger, method, event)
    return _SECRETS.sub(HIDDEN, line if isinstance(line, str) else line.decode())


def set_up_logs(role: str, level: str = "info") -> None:
    """Send structlog's and the standard library's records through the same JSON renderer."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                render,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS()[level.upper()])
    structlog.contextvars.bind_contextvars(role=role)
