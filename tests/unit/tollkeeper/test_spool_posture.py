"""What a route does while a spool is full, as the file says it."""

import pytest

from billing.catalog import Posture, SpoolPosture
from tollkeeper.config.schema import FailureModel


@pytest.mark.parametrize(
    ("postgres", "spool", "posture"),
    [
        ("allowance", None, "open"),
        ("open", None, "open"),
        ("closed", None, "closed"),
        ("closed", "open", "open"),
        ("open", "closed", "closed"),
    ],
)
def test_unless_it_is_said_it_follows_postgres(
    postgres: Posture, spool: SpoolPosture | None, posture: SpoolPosture
) -> None:
    """A route that is closed without Postgres is closed while what it costs cannot be recorded."""
    assert FailureModel(postgres=postgres, spool=spool).spool_posture == posture
