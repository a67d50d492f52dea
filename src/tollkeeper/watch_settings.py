"""The part of the settings that is about watching the books."""

from __future__ import annotations

from pydantic import BaseModel, Field


class WatchSettings(BaseModel):
    """How often the role ``admin`` checks the ledger by itself, and for how long."""

    ledger_check_interval_s: int = Field(
        300,
        ge=0,
        le=86_400,
        description="Between two checks of what is new in the ledger, and at least nine times what "
        "the last one took: damage is heard of within minutes, at a tenth of one core. 0: never.",
    )
    ledger_check_whole_interval_s: int = Field(
        86_400,
        ge=60,
        le=366 * 86_400,
        description="Between two checks of the whole ledger, which also find a change of what was "
        "checked before: a day, because it reads every row.",
    )
    ledger_check_deadline_s: int = Field(
        3_600,
        ge=1,
        le=86_400,
        description="Longest check: its snapshot keeps Postgres from clearing away what changed "
        "meanwhile.",
    )
