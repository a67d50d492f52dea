"""``tollkeeper replay``: the settler of the back door over log files, in this process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tollkeeper.cli.doing import settings_here
from tollkeeper.cli.showing import show_json, show_table, usd

if TYPE_CHECKING:
    from accesslog.replay import Progress, ReplayReport


async def replay_here(files: Sequence[Path]) -> ReplayReport:
    """Settle what the files hold; what Redis cannot be told now is promised and told later."""
    from prometheus_client import CollectorRegistry

    from accesslog.replay import replay_files
    from accesslog.settings import ReplaySettings
    from billing.offered import Offered
    from tollkeeper.config import compile_catalog, load_config
    from tollkeeper.operations.desk import new_id
    from tollkeeper.wiring.accesslog import open_office
    from tollkeeper.wiring.servers import open_servers

    settings = settings_here()
    catalog = compile_catalog(load_config(settings.config_file, settings), {})
    offered = Offered(catalog, time.monotonic)
    async with open_servers(settings, new_id()) as servers:
        desk = open_office(settings, servers, offered, CollectorRegistry(), _tell)
        with _progress() as progress:
            report = await replay_files(
                files,
                judge=desk.judge,
                settler=desk.settler,
                usage_headers=desk.settings.judge.usage_headers,
                settings=ReplaySettings(),
                progress=progress,
            )
        await desk.publisher.keep_promises()
    return report


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def show_replay(report: ReplayReport, *, as_json: bool) -> None:
    """Print what became of each file, and the first lines that were no entries."""
    if as_json:
        show_json({"clean": report.is_clean, "files": report.files, "bad": report.bad_lines})
        return
    rows = [
        (
            file.path.name,
            file.lines,
            file.entries,
            file.tally.settled,
            file.tally.released,
            file.tally.late,
            file.tally.duplicates,
            file.tally.conflicts,
            file.tally.quarantined,
            file.bad,
            usd(file.tally.charged_nanos),
        )
        for file in report.files
    ]
    heads = ("file", "lines", "entries", "settled", "released", "late", "known", "conflicts")
    show_table((*heads, "quarantined", "bad", "charged (USD)"), rows)
    for bad in report.bad_lines:
        typer.echo(f"{bad.path}:{bad.number}: {bad.reason}", err=True)
    for file in report.files:
        for fault in (file.fault, file.place_fault):
            if fault:
                typer.echo(f"{file.path}: {fault}", err=True)


@contextmanager
def _progress() -> Iterator[Callable[[Progress], None]]:
    """A bar of the bytes read, where a person looks."""
    if not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=None)
        yield lambda done: bar.update(
            task, description=done.path.name, completed=done.read_bytes, total=done.size_bytes
        )
