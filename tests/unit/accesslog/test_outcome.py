"""The outcome table: every combination of what decides, and the cases that people ask about."""

import itertools
from pathlib import Path

import pytest

from accesslog.flags import FLAGS, flags_of
from accesslog.outcome import (
    BROKEN_OFF,
    CLIENT_GONE,
    NO_USAGE,
    TABLE,
    TURNED_AWAY,
    decide,
)
from tests.unit.accesslog.door import make_entry

USED = {"output_tokens": 1}
CODES = (0, 101, 200, 302, 400, 404, 429, 499, 500, 503, 504, 599, 999)
FLAG_CLASSES = {
    "none": 0,
    "turned_away": TURNED_AWAY,
    "client_gone": CLIENT_GONE,
    "broken_off": BROKEN_OFF,
    "no_matter": ~(TURNED_AWAY | CLIENT_GONE | BROKEN_OFF) & flags_of(*(f.letters for f in FLAGS)),
}


def expected(ongoing: bool, flags: str, attempts: int, code: int, usage: bool) -> str:
    """The table once more, as the questions that a person would ask."""
    answers = (
        (ongoing, "still_running"),
        (flags == "turned_away", "turned_away"),
        (attempts == 0, "never_sent"),
        (code == 0, "left_waiting"),
        (code >= 500, "upstream_failed"),
        (400 <= code < 500 and not usage, "upstream_refused"),
        (flags in {"client_gone", "broken_off"}, flags),
        (attempts > 1, "retried"),
        (True, "answered"),
    )
    return next(name for holds, name in answers if holds)


@pytest.mark.parametrize("flags", FLAG_CLASSES)
@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
def test_every_combination_has_its_row(flags: str, attempts: int) -> None:
    """All classes of ongoing, flags, attempts, code and usage end in the row that is meant."""
    bits = [1 << n for n in range(32) if FLAG_CLASSES[flags] >> n & 1] or [0]
    for bit, code, ongoing, usage in itertools.product(bits, CODES, (False, True), ({}, USED)):
        entry = make_entry(
            "", flags=bit, attempts=attempts, code=code, ongoing=ongoing, usage=usage
        )
        assert decide(entry).name == expected(ongoing, flags, attempts, code, bool(usage)), entry


def test_every_row_is_reached_and_the_last_asks_for_nothing() -> None:
    """No row stands behind one that hides it, and no entry is without an outcome."""
    reached = {
        decide(
            make_entry("", ongoing=o, flags=f, attempts=a, code=c, usage={"output_tokens": 1})
        ).name
        for o, f, a, c in itertools.product((False, True), FLAG_CLASSES.values(), (0, 1, 2), CODES)
    }
    assert reached | {"upstream_refused"} == {row.name for row in TABLE}
    last = TABLE[-1]
    assert last.holds(ongoing=False, flags=0, attempts=1, code=200, usage=False)
    assert (last.ongoing, last.any_flag, last.attempts, last.codes) == (None, 0, None, None)


@pytest.mark.parametrize(
    ("changes", "row", "action"),
    [
        ({}, "answered", "bill"),
        ({"usage": {}}, "answered", "bill"),
        ({"code": 429, "flags": flags_of("RL"), "attempts": 0}, "turned_away", "release"),
        ({"code": 503, "flags": flags_of("UH"), "attempts": 0}, "never_sent", "release"),
        (
            {"code": 503, "flags": flags_of("UF", "URX"), "attempts": 3},
            "upstream_failed",
            "release",
        ),
        ({"code": 504, "flags": flags_of("UT")}, "upstream_failed", "release"),
        ({"code": 500}, "upstream_failed", "release"),
        ({"code": 400, "usage": {"model": "small"}}, "upstream_refused", "release"),
        ({"code": 400}, "answered", "bill"),
        ({"flags": flags_of("DC")}, "client_gone", "bill"),
        ({"flags": flags_of("DR")}, "client_gone", "bill"),
        ({"flags": flags_of("UC")}, "broken_off", "bill"),
        ({"code": 0, "flags": flags_of("DC")}, "left_waiting", "unknown"),
        ({"code": 0, "flags": flags_of("DC"), "attempts": 0}, "never_sent", "release"),
        ({"attempts": 2}, "retried", "bill"),
        ({"ongoing": True, "flags": flags_of("DC")}, "still_running", "extend"),
    ],
)
def test_the_cases_of_the_contract(changes: dict, row: str, action: str) -> None:
    """What section 9 of the contract says of a case is what the table does."""
    found = decide(make_entry("", **changes))
    assert (found.name, found.action) == (row, action)


def test_the_page_lists_the_rows_in_order() -> None:
    """docs/settlement.md shows the table as it is."""
    page = Path("docs/settlement.md").read_text()
    shown = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert shown[: len(TABLE) + 1] == [row.name for row in (*TABLE, NO_USAGE)]
