"""Settings of the tests are the defaults, whatever the environment of the tests says."""

import pytest

from tollkeeper.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every variable of ours out of the environment, for one test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TOLLKEEPER_{name.upper()}", raising=False)
    monkeypatch.delenv("EXAMPLE_API_KEY", raising=False)
