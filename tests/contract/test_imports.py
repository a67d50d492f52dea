"""What a process has in memory: found in processes of their own, which take a second to start."""

import subprocess
import sys


def loaded_by(script: str) -> set[str]:
    """The names of all modules in the memory of a process that ran a script."""
    told = f"{script}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_program_starts_without_databases_and_web() -> None:
    """Help answers at once, because no command's own imports are made for it."""
    loaded = loaded_by("from tollkeeper.cli.program import run; run(['--help'])")
    assert "tollkeeper.cli.roles" in loaded
    assert loaded & {"asyncpg", "redis", "grpc", "fastapi", "pydantic"} == set()


def test_traces_are_loaded_only_where_they_are_asked_for() -> None:
    """A process that serves without traces has no tracer and no exporter in memory."""
    loaded = loaded_by("import tollkeeper.serve")
    assert "tollkeeper.serve" in loaded
    unwanted = ("tollkeeper.tracing", "opentelemetry.exporter", "opentelemetry.sdk.trace.export")
    assert [name for name in loaded if name.startswith(unwanted)] == []
