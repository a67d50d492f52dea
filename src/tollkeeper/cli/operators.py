"""``tollkeeper operator``: create, list, revoke."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tollkeeper.cli.asking import AsJson, Cursor, Limit, page_of
from tollkeeper.cli.doing import do, see
from tollkeeper.cli.showing import show_json, show_page

if TYPE_CHECKING:
    from billing.stores.postgres_operators import Operator

app = typer.Typer(no_args_is_help=True)

RoleName = Literal["read", "billing", "admin"]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    role: Annotated[
        RoleName,
        typer.Option("--role", help="read sees, billing moves money too, admin does all."),
    ] = "read",
    as_json: AsJson = False,
) -> None:
    """Create an operator. The token is printed once and stored nowhere."""
    from billing.stores.postgres_operators import NewOperator
    from tollkeeper.operations.operators import create_operator

    new = NewOperator(name, role)
    issued = do("create operator", lambda act: create_operator(act, new))
    if as_json:
        show_json({"id": issued.id, "token": issued.token})
        return
    typer.echo(issued.token)
    typer.echo(f"id {issued.id}; this token is not shown again", err=True)


@app.command("list")
def list_all(limit: Limit = 100, cursor: Cursor = None, as_json: AsJson = False) -> None:
    """List operators, oldest first."""
    from tollkeeper.operations.operators import list_operators

    page = see("list operators", lambda view: list_operators(view, page_of(limit, cursor)))
    heads = ("id", "name", "role", "ends in", "created", "revoked", "last used")
    show_page(page, heads, _row, as_json=as_json)


@app.command("revoke")
def revoke(
    operator: Annotated[str, typer.Argument(metavar="OPERATOR", help="Its id or its name.")],
    as_json: AsJson = False,
) -> None:
    """End an operator's token at once."""
    from tollkeeper.operations.operators import revoke_operator

    ended = do("revoke operator", lambda act: revoke_operator(act, operator))
    show_json(ended) if as_json else typer.echo(f"operator {ended.name} ({ended.id}) is revoked")


def _row(operator: Operator) -> tuple[object, ...]:
    return (
        operator.id,
        operator.name,
        operator.role,
        operator.display,
        operator.created_at,
        operator.revoked_at,
        operator.last_used_at,
    )
