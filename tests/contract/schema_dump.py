"""The schema of a database as text that is the same wherever the same migrations were applied.

``python -m tests.contract.schema_dump`` writes ``migrations/schema.sql`` anew after a migration.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from devstack import Postgres
from devstack.parts import postgres_binary
from tollkeeper.migrate import MIGRATIONS, migrate

SCHEMA = MIGRATIONS / "schema.sql"
HEAD = """-- The schema that all migrations together make; a test holds this file against them.
-- Written by `python -m tests.contract.schema_dump`; never applied to anything.

"""
_NOISE = re.compile(r"^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog\.set_config.*)$")
DUMP_TIMEOUT_S = 30.0


async def dump_schema(dsn: str) -> str:
    """All tables, indexes, functions, triggers and privileges, without what differs by server."""
    process = await asyncio.create_subprocess_exec(
        str(postgres_binary("pg_dump")),
        *("--schema-only", "--no-owner", "--exclude-table=schema_migrations", dsn),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), DUMP_TIMEOUT_S)
    if process.returncode != 0:
        raise RuntimeError(err.decode())
    kept = (line for line in out.decode().splitlines() if not _NOISE.match(line))
    return HEAD + re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).strip() + "\n"


async def write_schema() -> None:
    """Apply every migration to a new database and write down what they made."""
    with tempfile.TemporaryDirectory() as folder:
        async with Postgres(Path(folder)) as server:
            await migrate(server.dsn())
            SCHEMA.write_text(await dump_schema(server.dsn()))


if __name__ == "__main__":
    asyncio.run(write_schema())
