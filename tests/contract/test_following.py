"""Files as they change in real folders: replaced, rewritten, swapped by a link."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.envoy_services import until
from tollkeeper.catalog_watch import changes_of, fingerprint
from tollkeeper.settings import load_settings
from tollkeeper.stack.following import follow_configuration

EXAMPLE = Path(__file__).parents[2] / "tollkeeper.yaml"


def rewritten(folder: Path) -> None:
    (folder / "file.yaml").write_text("two, longer")


def replaced(folder: Path) -> None:
    (folder / "fresh").write_text("two")
    (folder / "fresh").replace(folder / "file.yaml")


def swapped(folder: Path) -> None:
    """As Kubernetes changes a ConfigMap: the link to the whole folder is another one."""
    (folder / "second").mkdir()
    (folder / "second" / "file.yaml").write_text("two")
    (folder / "fresh").symlink_to("second")
    (folder / "fresh").replace(folder / "data")


@asynccontextmanager
async def beside(work: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait((work,))


@pytest.mark.parametrize("change", [rewritten, replaced, swapped])
async def test_every_way_of_changing_a_file_is_seen(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Once each, whether the folder of the file or a link on the way to it was changed."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "file.yaml").write_text("one")
    (tmp_path / "data").symlink_to("first")
    path = tmp_path / "file.yaml"
    path.symlink_to("data/file.yaml")
    seen: list[tuple[int, int, int] | None] = []
    before = fingerprint(path)

    async def follow() -> None:
        async for _ in changes_of(path, before):
            seen.append(fingerprint(path))  # noqa: PERF401 - it never ends

    async with beside(asyncio.create_task(follow())):
        await asyncio.sleep(0.2)
        assert seen == []
        change(tmp_path)
        await until(lambda: seen)
        await asyncio.sleep(1.2)
    assert len(seen) == 1
    assert seen != [before]


async def test_a_change_of_routes_is_rendered(tmp_path: Path) -> None:
    """A stack renders Envoy's bootstrap anew and says so; a broken file changes nothing."""
    path, bootstrap = tmp_path / "tollkeeper.yaml", tmp_path / "envoy.yaml"
    path.write_text(EXAMPLE.read_text())
    bootstrap.write_text("")
    settings = load_settings(config_file=path)
    told: list[str] = []
    following = follow_configuration(settings, settings, bootstrap, told.append)
    async with beside(asyncio.create_task(following)):
        await asyncio.sleep(0)
        path.write_text(EXAMPLE.read_text().replace("path: /flat/ping", "path: /elsewhere"))
        await until(lambda: len(told) == 2)
        rendered = bootstrap.read_text()
        path.write_text("routes: 3\n")
        await until(lambda: len(told) == 3)
    assert "/elsewhere" in rendered
    assert told[0] == "tollkeeper.yaml is taken up"
    assert f"Envoy needs the new {bootstrap}" in told[1]
    assert told[2].startswith("tollkeeper.yaml is refused")
    assert bootstrap.read_text() == rendered
