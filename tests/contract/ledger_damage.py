"""Damage that only somebody above all triggers can do, and how the check should tell of it."""

import re
from pathlib import Path
from typing import NamedTuple, cast

from tollkeeper.ledger_report import Invariant


class Damage(NamedTuple):
    """A statement, the invariant that it breaks, and words of the row and the reason."""

    invariant: Invariant
    sql: str
    row: str
    how: str


_STATEMENT = re.compile(r"^-- (\d): ([^:\n]+): ([^:\n]+)\n(.+?);\n", re.MULTILINE | re.DOTALL)

_TEXT = Path(__file__).with_suffix(".sql").read_text()

DAMAGE = [
    Damage(cast("Invariant", int(found[1])), found[4], found[2], found[3])
    for found in _STATEMENT.finditer(_TEXT)
]
assert len(DAMAGE) == _TEXT.count(";\n"), "every statement says what it breaks"
