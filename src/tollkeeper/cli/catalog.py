"""``tollkeeper catalog``: apply the configuration file, show what is in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tollkeeper.cli.asking import AsJson
from tollkeeper.cli.doing import do, see, settings_here
from tollkeeper.cli.showing import show_json, show_table

if TYPE_CHECKING:
    from billing.stores.postgres_catalog import PlanInForce, PriceInBook

app = typer.Typer(no_args_is_help=True)


@app.command("apply")
def apply(as_json: AsJson = False) -> None:
    """Bring the file's profiles, plans and price versions into the database."""
    from tollkeeper.config import load_config
    from tollkeeper.operations.catalog import apply_catalog

    settings = settings_here()
    config = load_config(settings.config_file, settings)
    applied = do("apply catalog", lambda act: apply_catalog(act, config))
    if as_json:
        show_json(applied)
        return
    for what in ("profiles", "plans", "prices"):
        typer.echo(f"{what}: {', '.join(getattr(applied, what)) or 'as they were'}")


@app.command("plans")
def plans(as_json: AsJson = False) -> None:
    """Show the plans in force, and who applied them."""
    from tollkeeper.operations.catalog import plans_in_force

    found = see("plans", plans_in_force)
    if as_json:
        show_json(found)
        return
    show_table(("plan", "period", "applied", "by"), [_plan_row(plan) for plan in found])


@app.command("prices")
def prices(as_json: AsJson = False) -> None:
    """Show every version of the price book, and who applied it."""
    from tollkeeper.operations.catalog import price_book

    found = see("prices", price_book)
    if as_json:
        show_json(found)
        return
    heads = ("version", "effective from", "in force", "applied", "by", "digest")
    show_table(heads, [_price_row(price) for price in found])


def _plan_row(plan: PlanInForce) -> tuple[object, ...]:
    return (plan.name, plan.definition.get("period"), plan.applied_at, plan.applied_by)


def _price_row(price: PriceInBook) -> tuple[object, ...]:
    return (
        price.version,
        price.effective_from,
        price.in_force,
        price.applied_at,
        price.applied_by,
        price.digest[:12],
    )
