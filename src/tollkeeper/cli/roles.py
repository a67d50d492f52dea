"""Commands that run: serve, up, demo, migrate, replay, doctor."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Literal

import typer

from billing.errors import ConfigError
from tollkeeper.cli.asking import AsJson
from tollkeeper.cli.doing import settings_here
from tollkeeper.cli.showing import show_json

Role = Literal["authz", "ratelimit", "accesslog", "admin", "all"]


def register(app: typer.Typer) -> None:
    """Add the commands to the program."""
    for command in (serve, up, demo, migrate, replay, doctor):
        app.command(command.__name__)(command)


def serve(
    role: Annotated[Role, typer.Argument(help="Which one.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="ratelimit alone: its directory of rule files."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", help="ratelimit alone: host:port or unix:path.")
    ] = None,
    http_listen: Annotated[
        str | None, typer.Option("--http-listen", help="ratelimit alone: metrics and health.")
    ] = None,
    redis: Annotated[
        str | None,
        typer.Option("--redis", help="ratelimit alone: its Redis; TOLLKEEPER_RATELIMIT_REDIS_URL."),
    ] = None,
    redis_per_second: Annotated[
        str | None,
        typer.Option("--redis-per-second", help="ratelimit alone: another for limits per second."),
    ] = None,
    worker: Annotated[
        int | None, typer.Option("--worker", help="authz: only that one of the workers.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="authz: how many; TOLLKEEPER_AUTHZ_WORKERS.")
    ] = None,
) -> None:
    """Serve one role, or all, until SIGTERM or Ctrl-C."""
    alone = {
        "--listen": listen,
        "--http-listen": http_listen,
        "--redis": redis,
        "--redis-per-second": redis_per_second,
    }
    if config is not None:
        _check_role(role, "--config")
        _serve_rules(config, listen, http_listen, (redis, redis_per_second))
        return
    for name, value in alone.items():
        if value is not None:
            raise ConfigError(f"{name} goes with `serve ratelimit --config DIR`")
    from tollkeeper.serve import serve as serve_role
    from tollkeeper.settings import load_settings

    chosen = {} if workers is None else {"authz_workers": workers}
    serve_role(role, load_settings(**chosen), worker)


def up() -> None:
    """Run the whole stack in the foreground until Ctrl-C."""
    from tollkeeper.settings import load_settings
    from tollkeeper.up import up as run_up

    run_up(load_settings())


def demo() -> None:
    """Send paid requests through real Envoy, Postgres and Redis until the credits run out."""
    from tollkeeper.demo import demo as run_demo
    from tollkeeper.settings import load_settings

    run_demo(load_settings())


def migrate(as_json: AsJson = False) -> None:
    """Bring the database's schema up to date; safe to run twice and from two machines."""
    from tollkeeper.migrate import migrate as apply_migrations

    applied = asyncio.run(apply_migrations(settings_here().require_postgres_dsn()))
    if as_json:
        show_json({"applied": applied})
        return
    for name in applied:
        typer.echo(f"applied {name}")
    typer.echo("the schema is up to date")


def replay(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Envoy's JSON logs.")],
    as_json: AsJson = False,
) -> None:
    """Settle what log files hold and the ledger does not; rotated and packed files too."""
    from tollkeeper.cli.replaying import replay_here, show_replay

    report = asyncio.run(replay_here(files))
    show_replay(report, as_json=as_json)
    if not report.is_clean:
        raise typer.Exit(1)


def doctor(as_json: AsJson = False) -> None:
    """Look at every part, and say what to do about what is wrong."""
    from tollkeeper.cli.doctoring import examine_here, show_findings

    findings = asyncio.run(examine_here())
    show_findings(findings, as_json=as_json)
    if any(finding.verdict == "bad" for finding in findings):
        raise typer.Exit(1)


def _check_role(role: Role, option: str) -> None:
    if role != "ratelimit":
        raise ConfigError(f"{option} is for `serve ratelimit`, not for {role}")


def _serve_rules(
    rules: Path,
    listen: str | None,
    http_listen: str | None,
    redis: tuple[str | None, str | None],
) -> None:
    """The rate-limit service by itself, without file or database; ``redis`` is the one for all
    limits, and the one for limits per second where that is another."""
    from tollkeeper.running import run
    from tollkeeper.serve import serve_ratelimit
    from tollkeeper.settings import load_settings
    from tollkeeper.wiring.ratelimit import ratelimit_alone, ratelimit_tls

    settings = load_settings()
    url, url_per_second = redis
    own = ratelimit_alone(
        settings,
        listen=listen,
        http_listen=http_listen,
        redis_url=url,
        redis_per_second_url=url_per_second,
    )
    run(serve_ratelimit(rules, own, ratelimit_tls(settings)))
