"""The program: all commands, and what becomes of a failure: one line on stderr, a non-zero code."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from billing.errors import TollkeeperError
from billing.money import MoneyError
from tollkeeper.cli import (
    accounts,
    catalog,
    envoy,
    keys,
    ledger,
    operators,
    ratelimit,
    reports,
    roles,
    subscriptions,
)

FAILED = 1
INTERRUPTED = 130

app = typer.Typer(
    name="tollkeeper",
    help="Prepaid credits in front of anything behind Envoy.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("tollkeeper"))
        raise typer.Exit


@app.callback()
def _program(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Prepaid credits in front of anything behind Envoy."""


for module in (roles, reports):
    module.register(app)
app.add_typer(accounts.app, name="account", help="Who pays: create, list, show, top up, suspend.")
app.add_typer(keys.app, name="key", help="API keys: create, list, rotate, revoke.")
app.add_typer(subscriptions.app, name="subscription", help="Which profiles an account may use.")
app.add_typer(catalog.app, name="catalog", help="What is for sale: apply the file, show it.")
app.add_typer(ledger.app, name="ledger", help="The books: check, entries.")
app.add_typer(operators.app, name="operator", help="Who may use the management API.")
app.add_typer(envoy.app, name="envoy", help="Envoy's configuration: render, validate.")
app.add_typer(ratelimit.app, name="ratelimit", help="Rate limit rules: lint, explain.")


def run(args: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = _command()(list(args), prog_name="tollkeeper", standalone_mode=False)
    except TyperException as error:
        return _fail(error.format_message(), error.exit_code)
    except (TollkeeperError, MoneyError) as error:
        return _fail(str(error), FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return code if isinstance(code, int) else 0


@cache
def _command() -> Callable[..., object]:
    """All commands with their arguments, read from their signatures once."""
    return typer.main.get_command(app)


def main() -> None:
    """The entry point of the program."""
    sys.exit(run(sys.argv[1:]))


def _fail(text: str, code: int) -> int:
    """Say in one line what failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    typer.echo("tollkeeper: " + "; ".join(lines or ["failed"]), err=True)
    return code
