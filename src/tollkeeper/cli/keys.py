"""``tollkeeper key``: create, list, rotate, revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from billing.accounts import ApiKey, IssuedKey, NewKey
from tollkeeper.cli.asking import (
    AccountName,
    AsJson,
    Cursor,
    Limit,
    OfAccount,
    ends_after,
    page_of,
    read_length,
)
from tollkeeper.cli.doing import do, see
from tollkeeper.cli.showing import show_json, show_page

if TYPE_CHECKING:
    from tollkeeper.operations.desk import Act

app = typer.Typer(no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The id, not the key itself.")]


@app.command("create")
def create(
    account: AccountName,
    name: Annotated[str, typer.Option("--name", help="What it is for.")] = "",
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A route or profile; repeat for more. None means all."),
    ] = None,
    expires_in: Annotated[
        str | None, typer.Option("--expires-in", metavar="LENGTH", help="Such as 30d.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key. It is printed once and stored nowhere."""
    new = NewKey(name, tuple(scope or ()), ends_after(expires_in))

    async def work(act: Act) -> IssuedKey:
        from tollkeeper.operations.keys import create_key

        return await create_key(act, account, new)

    _show_issued(do("create key", work), as_json=as_json)


@app.command("list")
def list_all(
    account: AccountName, limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False
) -> None:
    """List the keys of an account by their last characters."""
    from tollkeeper.operations.keys import list_keys

    page = see("list keys", lambda view: list_keys(view, account, page_of(limit, cursor)))
    heads = ("id", "name", "ends in", "status", "scopes", "expires", "created", "last used")
    show_page(page, heads, _row, as_json=as_json)


@app.command("rotate")
def rotate(
    key_id: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="LENGTH", help="How long the old key still works.")
    ] = "24h",
    account: OfAccount = None,
    as_json: AsJson = False,
) -> None:
    """Replace a key by a new one; both work during the overlap."""
    length = read_length(overlap)

    async def work(act: Act) -> IssuedKey:
        from tollkeeper.operations.keys import owner_of_key, rotate_key

        return await rotate_key(act, account or await owner_of_key(act, key_id), key_id, length)

    _show_issued(do("rotate key", work), as_json=as_json)


@app.command("revoke")
def revoke(key_id: KeyId, account: OfAccount = None, as_json: AsJson = False) -> None:
    """End a key within a second."""

    async def work(act: Act) -> ApiKey:
        from tollkeeper.operations.keys import owner_of_key, revoke_key

        return await revoke_key(act, account or await owner_of_key(act, key_id), key_id)

    key = do("revoke key", work)
    show_json(key) if as_json else typer.echo(f"key ...{key.display} ({key.id}) is revoked")


def _show_issued(issued: IssuedKey, *, as_json: bool) -> None:
    if as_json:
        show_json({"id": issued.id, "key": issued.key})
        return
    typer.echo(issued.key)
    typer.echo(f"id {issued.id}; this key is not shown again", err=True)
    if issued.old_key_ends_at is not None:
        typer.echo(f"the old key works until {issued.old_key_ends_at.isoformat()}", err=True)


def _row(key: ApiKey) -> tuple[object, ...]:
    return (
        key.id,
        key.name or "-",
        key.display,
        key.status,
        key.scopes or "all",
        key.expires_at,
        key.created_at,
        key.last_used_at,
    )
