"""``tollkeeper subscription``: set, list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from billing.accounts import SubscriptionState, Terms
from billing.subscriptions import SubscriptionStatus
from tollkeeper.cli.asking import AccountName, AsJson
from tollkeeper.cli.doing import do, see
from tollkeeper.cli.showing import show_json, show_table, usd

app = typer.Typer(no_args_is_help=True)


@app.command("set")
def set_terms(
    account: AccountName,
    profile: Annotated[str, typer.Argument(metavar="PROFILE")],
    plan: Annotated[str, typer.Option("--plan", help="A plan that was applied.")],
    status: Annotated[SubscriptionStatus, typer.Option("--status")] = "active",
    units_limit: Annotated[
        int | None, typer.Option("--units-limit", help="Units per period, in place of the plan's.")
    ] = None,
    rps: Annotated[int | None, typer.Option("--rps", help="Requests per second.")] = None,
    burst: Annotated[int | None, typer.Option("--burst", help="Requests at once.")] = None,
    billing_day: Annotated[int, typer.Option("--billing-day", help="Of the month, 1 to 31.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Subscribe an account to a profile, or change its terms; the running period goes on."""
    from tollkeeper.operations.subscriptions import set_subscription

    terms = Terms(plan, status, units_limit, rps, burst, billing_day)
    state = do("set subscription", lambda act: set_subscription(act, account, profile, terms))
    show_json(state) if as_json else _show([state])


@app.command("list")
def list_all(account: AccountName, as_json: AsJson = False) -> None:
    """List what an account is subscribed to."""
    from tollkeeper.operations.subscriptions import list_subscriptions

    states = see("list subscriptions", lambda view: list_subscriptions(view, account))
    show_json(states) if as_json else _show(states)


def _show(states: Sequence[SubscriptionState]) -> None:
    show_table(
        ("profile", "plan", "status", "units", "limit", "spent", "rps", "burst", "period end"),
        [
            (
                state.profile,
                state.plan,
                state.status,
                state.units_used,
                state.units_limit,
                usd(state.spent_nanos),
                state.rps_override,
                state.burst_override,
                state.period_end,
            )
            for state in states
        ],
    )
