"""Limits that cannot be."""

from __future__ import annotations

import pytest

from extauthz.limits import CheckLimits, DirectoryLimits


@pytest.mark.parametrize("name", ["max_known", "max_ready", "max_unknown", "max_waiting"])
def test_a_directory_needs_room(name: str) -> None:
    """A bound of nothing is a mistake of whoever sets it."""
    with pytest.raises(ValueError, match="at least 1"):
        DirectoryLimits(**{name: 0})


@pytest.mark.parametrize("limits", [{"max_in_flight": 0}, {"reserve_deadline_s": 0}])
def test_a_check_needs_a_place_and_a_moment(limits: dict[str, int]) -> None:
    """No check could ever pass with such limits."""
    with pytest.raises(ValueError, match="above 0"):
        CheckLimits(**limits)


def test_both_waits_fit_into_envoys_timeout() -> None:
    """A look-up and a reservation that both take their longest still answer before Envoy gives up
    after the second that is rendered for it."""
    assert DirectoryLimits().lookup_deadline_s + CheckLimits().reserve_deadline_s < 1.0
