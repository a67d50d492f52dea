"""``tollkeeper envoy``: render, validate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from billing.errors import ConfigError
from tollkeeper.cli.asking import AsJson
from tollkeeper.cli.doing import settings_here
from tollkeeper.cli.showing import show_json

if TYPE_CHECKING:
    from tollkeeper.config import Config
    from tollkeeper.settings import Settings

app = typer.Typer(no_args_is_help=True)


@app.command("render")
def render(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file; standard output without.")
    ] = None,
    filters: Annotated[
        bool, typer.Option("--filters", help="Only what an Envoy that is there already needs.")
    ] = False,
    tls_dir: Annotated[
        Path | None,
        typer.Option(help="TOLLKEEPER_GATEWAY_TLS_DIR, where it has another name here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write Envoy's bootstrap from tollkeeper.yaml."""
    from tollkeeper.envoy_render import bootstrap_text, render_bootstrap, render_filters, to_yaml

    settings, config = _configured()
    if not filters:
        _write_secrets(settings, tls_dir)
    if as_json:
        show_json((render_filters if filters else render_bootstrap)(config, settings))
        return
    text = to_yaml(render_filters(config, settings)) if filters else None
    text = text or bootstrap_text(config, settings)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write {output}: {error.strerror}") from error
    typer.echo(f"wrote {output}")


@app.command("validate")
def validate(as_json: AsJson = False) -> None:
    """Check tollkeeper.yaml, and let a real Envoy check what is rendered from it."""
    from devstack import PartFailed, PartMissing
    from tollkeeper.envoy_render import validate_configuration

    settings, config = _configured()
    try:
        complaints = asyncio.run(validate_configuration(config, settings))
    except (PartFailed, PartMissing) as error:
        raise ConfigError(str(error)) from error
    if as_json:
        show_json({"ok": not complaints, "complaints": complaints})
    if complaints:
        raise ConfigError(f"Envoy refuses it: {'; '.join(complaints)}")
    if not as_json:
        typer.echo(f"{settings.config_file}: ok; Envoy accepts what is rendered from it")


def _write_secrets(settings: Settings, folder: Path | None) -> None:
    from tollkeeper.envoy_render import write_gateway_secrets

    written = write_gateway_secrets(settings, folder)
    if written is not None:
        typer.echo(f"wrote what names the gateway's certificates into {written}", err=True)


def _configured() -> tuple[Settings, Config]:
    from tollkeeper.config import load_config

    settings = settings_here()
    return settings, load_config(settings.config_file, settings)
