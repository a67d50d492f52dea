"""SQL is kept in source files: ``-- name: x`` begins the statement ``x``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

_HEAD = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_queries(file_name: str) -> Mapping[str, str]:
    """All statements of one file of this package, by name."""
    text = files("billing.stores").joinpath(file_name).read_text()
    _, *parts = _HEAD.split(text)
    queries = dict(zip(parts[::2], (sql.strip() for sql in parts[1::2]), strict=True))
    assert len(queries) * 2 == len(parts), f"a name stands twice in {file_name}"
    return queries
