"""The program ``tollkeeper`` as a person runs it: a process of its own beside a running stack."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.stage import Stage

PROGRAM = Path(sys.executable).with_name("tollkeeper")
DEADLINE_S = 60.0
"""Far above what a command takes, on a machine that is busy with a whole stack."""


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Program:
    """Runs commands with these variables, and no others of Tollkeeper's."""

    variables: dict[str, str]

    def where(self, **variables: str) -> Program:
        """The same with further variables."""
        return replace(self, variables=self.variables | variables)

    async def run(self, *args: str) -> Ran:
        """Run one command until it ends."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TOLLKEEPER_")}
        process = await asyncio.create_subprocess_exec(
            PROGRAM,
            *args,
            env=inherited | self.variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), DEADLINE_S)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    async def tells(self, *args: str) -> str:
        """What a command that succeeds prints."""
        ran = await self.run(*args)
        assert ran.code == 0, ran
        return ran.out

    async def gives(self, *args: str) -> Any:
        """What a command that succeeds prints as JSON, and nothing beside it."""
        return json.loads(await self.tells(*args, "--json"))

    async def fails(self, *args: str) -> str:
        """The one line on stderr of a command that fails, and prints nothing else."""
        ran = await self.run(*args)
        assert ran.code != 0, ran
        assert ran.out == ""
        assert ran.err.count("\n") == 1, ran.err
        assert ran.err.startswith("tollkeeper: ")
        return ran.err


def program_beside(stage: Stage) -> Program:
    """The program with nothing set but where the stack's data and configuration are."""
    settings = stage.stack.settings
    return Program(
        {
            "TOLLKEEPER_HOME": str(settings.home),
            "TOLLKEEPER_CONFIG_FILE": str(settings.config_file),
        }
    )
