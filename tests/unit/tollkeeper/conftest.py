"""Settings of the tests are the defaults, whatever the environment of the tests says."""

import os

import pytest

from tests.unit.tollkeeper.example import default_settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every variable of ours out of the environment, for one test."""
    for name in [name for name in os.environ if name.upper().startswith("TOLLKEEPER_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("EXAMPLE_API_KEY", raising=False)
    default_settings()  # read and kept before any test has set a variable
