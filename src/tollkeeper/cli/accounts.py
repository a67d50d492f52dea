"""``tollkeeper account``: create, list, show, top up, correct, suspend, resume, overdraft."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing.accounts import Account, Against, NewAccount, Posted
from billing.errors import InvalidInput
from billing.money import parse_usd
from billing.subscriptions import AccountType
from tollkeeper.cli.asking import AccountName, AsJson, Cursor, Limit, page_of
from tollkeeper.cli.doing import do, see
from tollkeeper.cli.showing import show_facts, show_json, show_page, usd

if TYPE_CHECKING:
    from tollkeeper.operations.desk import Act

app = typer.Typer(no_args_is_help=True)

Amount = Annotated[str, typer.Option("--amount", metavar="USD", help="Such as 25.00.")]
Reference = Annotated[
    str, typer.Option("--reference", help="Names the payment; a repeated one changes nothing.")
]


@app.command("create")
def create(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Unique.")] = None,
    named: Annotated[str | None, typer.Option("--name", help="The same as NAME.")] = None,
    kind: Annotated[AccountType, typer.Option("--type", help="Who it is.")] = "personal",
    tier: Annotated[str, typer.Option("--tier", help="A word of yours.")] = "standard",
    wallet: Annotated[str | None, typer.Option("--wallet", help="Wallet address.")] = None,
    overdraft: Annotated[
        str, typer.Option("--overdraft", metavar="USD", help="How far below zero it may go.")
    ] = "0",
    as_json: AsJson = False,
) -> None:
    """Create an account with a balance of zero; prints its id."""
    if (name is None) == (named is None):
        raise InvalidInput("give the account one name")
    new = NewAccount(name or named or "", kind, tier, wallet, parse_usd(overdraft))

    async def work(act: Act) -> Account:
        from tollkeeper.operations.accounts import create_account

        return await create_account(act, new)

    account = do("create account", work)
    show_json({"id": account.id}) if as_json else typer.echo(account.id)


@app.command("list")
def list_all(limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List accounts, oldest first."""
    from tollkeeper.operations.accounts import list_accounts

    page = see("list accounts", lambda view: list_accounts(view, page_of(limit, cursor)))
    heads = ("id", "name", "type", "tier", "status", "overdraft", "created")
    show_page(page, heads, _row, as_json=as_json)


@app.command("show")
def show(account: AccountName, as_json: AsJson = False) -> None:
    """Show one account."""
    from tollkeeper.operations.accounts import show_account

    _show(see("show account", lambda view: show_account(view, account)), as_json=as_json)


@app.command("topup")
def topup(
    account: AccountName, amount: Amount, reference: Reference, as_json: AsJson = False
) -> None:
    """Add prepaid credits, once per reference."""
    amount_nanos = parse_usd(amount)

    async def work(act: Act) -> Posted:
        from tollkeeper.operations import orders

        return await orders.topup(act, account, amount_nanos, reference)

    _show_posted(do("top up", work), as_json=as_json)


@app.command("correct")
def correct(
    account: AccountName,
    amount: Annotated[
        str, typer.Option("--amount", metavar="USD", help="Above zero gives, below zero takes.")
    ],
    reference: Reference,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")],
    against: Annotated[Against, typer.Option("--against", help="The other side.")] = "revenue",
    as_json: AsJson = False,
) -> None:
    """Put a balance right by hand, once per reference."""
    amount_nanos = parse_usd(amount)

    async def work(act: Act) -> Posted:
        from tollkeeper.operations import orders

        return await orders.correct(
            act, account, amount_nanos, reference, reason=reason, against=against
        )

    _show_posted(do("correct", work), as_json=as_json)


@app.command("suspend")
def suspend(account: AccountName, as_json: AsJson = False) -> None:
    """Refuse all that the account asks, within a second."""
    from tollkeeper.operations.accounts import suspend_account

    _show(do("suspend account", lambda act: suspend_account(act, account)), as_json=as_json)


@app.command("resume")
def resume(account: AccountName, as_json: AsJson = False) -> None:
    """Let a suspended account act again."""
    from tollkeeper.operations.accounts import resume_account

    _show(do("resume account", lambda act: resume_account(act, account)), as_json=as_json)


@app.command("overdraft")
def overdraft(account: AccountName, amount: Amount, as_json: AsJson = False) -> None:
    """Change how far below zero the balance may go."""
    from tollkeeper.operations.accounts import set_overdraft

    amount_nanos = parse_usd(amount)
    changed = do("set overdraft", lambda act: set_overdraft(act, account, amount_nanos))
    _show(changed, as_json=as_json)


def _row(account: Account) -> tuple[object, ...]:
    return (
        account.id,
        account.name,
        account.type,
        account.tier,
        account.status,
        usd(account.overdraft_nanos),
        account.created_at,
    )


def _show(account: Account, *, as_json: bool) -> None:
    if as_json:
        show_json(account)
        return
    heads = ("id", "name", "type", "tier", "status", "overdraft (USD)", "created")
    show_facts([*zip(heads, _row(account), strict=True), ("wallet", account.wallet_address)])


def _show_posted(posted: Posted, *, as_json: bool) -> None:
    if as_json:
        show_json(posted)
        return
    said = "was posted before; nothing changed" if posted.repeated else "posted"
    typer.echo(
        f"{posted.kind} of {usd(posted.amount_nanos)} USD ({posted.reference}) {said}; "
        f"balance {usd(posted.posted_nanos)} USD"
    )
