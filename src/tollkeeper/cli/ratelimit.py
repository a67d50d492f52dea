"""``tollkeeper ratelimit``: lint, explain."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.errors import ConfigError
from tollkeeper.cli.asking import AsJson
from tollkeeper.cli.showing import show_facts, show_json

if TYPE_CHECKING:
    from ratelimit.explain import Explanation

app = typer.Typer(no_args_is_help=True)

Rules = Annotated[Path, typer.Argument(metavar="DIR", help="A directory of rule files.")]


@app.command("lint")
def lint(
    rules: Rules,
    merge_domains: Annotated[
        bool, typer.Option("--merge-domains", help="Let several files name one domain.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong, or odd, with rule files."""
    from ratelimit.lint import lint as find
    from tollkeeper.settings import load_settings

    merged = merge_domains or load_settings().ratelimit_merge_domains
    findings = find(rules, merge_domains=merged)
    if as_json:
        show_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            typer.echo(str(finding))
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        raise ConfigError(f"{rules}: {errors} errors; the rules would be refused")
    if not as_json:
        typer.echo(f"{rules}: ok, {len(findings)} warnings")


@app.command("explain")
def explain(
    rules: Rules,
    domain: Annotated[str, typer.Argument(metavar="DOMAIN")],
    entries: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...")],
    redis: Annotated[
        str | None,
        typer.Option("--redis", help="Where the counters are; TOLLKEEPER_RATELIMIT_REDIS_URL."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say which rule a descriptor meets, and what one more hit would be answered, by a service
    with these settings."""
    found = asyncio.run(_explain(rules, domain, entries, redis))
    show_json(found.fields()) if as_json else show_facts(found.fields().items())


async def _explain(rules: Path, domain: str, entries: list[str], redis: str | None) -> Explanation:
    from ratelimit.descriptors import Descriptor
    from ratelimit.errors import RatelimitError
    from ratelimit.explain import explain as look
    from ratelimit.explain import parse_entries
    from ratelimit.rule_files import load_directory
    from ratelimit.stores.opening import open_store
    from tollkeeper.settings import load_settings
    from tollkeeper.wiring.ratelimit import ratelimit_alone

    own = ratelimit_alone(load_settings(), redis_url=redis)
    try:
        opened = open_store(own)
        try:
            descriptor = Descriptor(tuple(parse_entries(entries)))
            now_us = time.time_ns() // 1000
            loaded = load_directory(rules, merge_domains=own.merge_domains)
            return await look(loaded, opened.store, own, domain, descriptor, now_us=now_us)
        finally:
            await opened.store.close()
    except RatelimitError as error:
        raise ConfigError(str(error)) from error
