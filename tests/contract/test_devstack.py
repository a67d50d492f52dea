"""The real parts come up, go, and say why when they do not."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from redis.asyncio import Redis as RedisClient
from redis.asyncio import RedisCluster as RedisClusterClient

from devstack import (
    Command,
    Envoy,
    InvalidBootstrap,
    PartFailed,
    Persistence,
    Postgres,
    Process,
    Redis,
    RedisCluster,
    free_port,
    validate,
)
from devstack.process import log_tail, run_to_end

BOOTSTRAP = "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}\n"
ORPHAN_TIMEOUT_S = 15.0

PARENT = """
import asyncio, sys
from pathlib import Path
from devstack import Envoy, Postgres, Redis

async def main(home, bootstrap, admin_port):
    parts = [Postgres(home / "postgres"), Redis(home / "redis"),
             Envoy(home / "envoy", bootstrap, admin_port)]
    for part in parts:
        await part.start()
    print(*(part.pid for part in parts), flush=True)
    await asyncio.sleep(600)

asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
"""


async def test_postgres_keeps_its_data_over_a_restart(tmp_path: Path) -> None:
    """What was committed before a stop is there after the next start, over TCP and the socket."""
    server = Postgres(tmp_path)
    async with server:
        await _execute(server.dsn(), "CREATE TABLE kept (n bigint); INSERT INTO kept VALUES (7)")
        stopped_pid = server.pid
    assert not psutil.pid_exists(stopped_pid)
    async with server:
        assert await _value(server.socket_dsn(), "SELECT n FROM kept") == 7
        assert await _value(server.dsn(), "SHOW fsync") == "on"


async def test_postgres_takes_its_settings(tmp_path: Path) -> None:
    """max_connections and any other server setting reach the server."""
    async with Postgres(tmp_path, max_connections=17, settings={"work_mem": "5MB"}) as server:
        assert await _value(server.dsn(), "SHOW max_connections") == "17"
        assert await _value(server.dsn(), "SHOW work_mem") == "5MB"


async def test_postgres_starts_again_right_after_a_kill(tmp_path: Path) -> None:
    """A killed server comes back at the same address with everything that was committed."""
    server = Postgres(tmp_path)
    async with server:
        await _execute(server.dsn(), "CREATE TABLE kept (n bigint); INSERT INTO kept VALUES (7)")
        await server.kill()
        assert not server.running
        await server.start()
        assert await _value(server.dsn(), "SELECT n FROM kept") == 7


async def test_postgres_of_a_deep_directory_borrows_a_short_socket_directory(
    tmp_path: Path,
) -> None:
    """A data directory too long for a Unix socket still gets one, which goes when it stops."""
    async with Postgres(tmp_path / ("deep" * 25)) as server:
        assert await _value(server.socket_dsn(), "SELECT 1") == 1
        borrowed = server.socket_dir
        assert len(str(borrowed)) < 80
    assert not borrowed.exists()


async def test_redis_answers_and_goes(tmp_path: Path) -> None:
    """One node serves over TCP and its socket while it runs, and leaves no process."""
    async with Redis(tmp_path) as server:
        for url in (server.url, f"unix://{server.socket_path}"):
            client = RedisClient.from_url(url)
            assert await client.incr("hits") >= 1
            await client.aclose()
        pid = server.pid
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize(
    ("persistence", "kept"), [(Persistence.NOTHING, None), (Persistence.APPEND_ONLY, b"1")]
)
async def test_redis_keeps_what_it_was_told_to(
    tmp_path: Path, persistence: Persistence, kept: bytes | None
) -> None:
    """A restart keeps the keys exactly when persistence was chosen."""
    server = Redis(tmp_path, persistence=persistence)
    client = RedisClient.from_url(server.url)
    async with server:
        await client.set("key", "1")
        await client.aclose()
    async with server:
        assert await client.get("key") == kept
        await client.aclose()


async def test_redis_cluster_serves_every_slot(redis_cluster: RedisCluster) -> None:
    """Three masters share the slots: keys of many slots can be written and read through one URL."""
    client = RedisClusterClient.from_url(redis_cluster.url)
    written = {f"key-{number}": str(number).encode() for number in range(60)}
    for key, value in written.items():
        await client.set(key, value)
    assert {key: await client.get(key) for key in written} == written
    owners = [client.get_node_from_key(key) for key in written]
    assert len({owner.port for owner in owners if owner is not None}) == 3
    await client.aclose()


async def test_envoy_answers_and_goes(tmp_path: Path) -> None:
    """Envoy is up when start returns, and leaves no process."""
    admin_port = free_port()
    bootstrap = tmp_path / "envoy.yaml"
    bootstrap.write_text(BOOTSTRAP.format(port=admin_port))
    async with Envoy(tmp_path, bootstrap, admin_port) as envoy, httpx.AsyncClient() as client:
        answer = await client.get(f"http://{envoy.address}/server_info")
        assert answer.json()["state"] == "LIVE"
        pid = envoy.pid
    assert not psutil.pid_exists(pid)


async def test_validate_says_what_envoy_says(tmp_path: Path) -> None:
    """A good bootstrap passes; of a bad one Envoy's own complaint is told."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(BOOTSTRAP.format(port=free_port()))
    bad.write_text("no_such_field: 1\n")
    await validate(good, tmp_path / "validate.log")
    with pytest.raises(InvalidBootstrap, match="no_such_field"):
        await validate(bad, tmp_path / "validate.log")


async def test_a_part_that_dies_early_shows_the_end_of_its_log(tmp_path: Path) -> None:
    """A port in use is reported in the server's words, though another one answers there."""
    async with Redis(tmp_path / "first") as first:
        second = Redis(tmp_path / "second", port=first.port)
        with pytest.raises(PartFailed, match="Address already in use") as failed:
            await second.start()
    assert "before it answered" in failed.value.reason
    assert 0 < len(failed.value.log_lines) <= 20


async def test_envoy_on_a_port_in_use_is_reported(tmp_path: Path) -> None:
    """Another Envoy that answers on the admin port is not taken for the one that was started."""
    admin_port = free_port()
    bootstrap = tmp_path / "envoy.yaml"
    bootstrap.write_text(BOOTSTRAP.format(port=admin_port))
    async with Envoy(tmp_path / "first", bootstrap, admin_port):
        with pytest.raises(PartFailed, match="in use"):
            await Envoy(tmp_path / "second", bootstrap, admin_port).start()


async def test_a_part_that_never_answers_is_ended_and_reported(tmp_path: Path) -> None:
    """After its deadline a silent part is stopped, so that nothing is left over."""
    bootstrap = tmp_path / "envoy.yaml"
    bootstrap.write_text(BOOTSTRAP.format(port=free_port()))
    envoy = Envoy(tmp_path, bootstrap, free_port(), start_timeout_s=1.0)
    with pytest.raises(PartFailed, match=r"did not answer within 1\.0 s"):
        await envoy.start()
    assert not envoy.running


async def test_whoever_watches_a_part_hears_of_its_death(tmp_path: Path) -> None:
    """wait() ends with the failure when somebody else kills the part."""
    async with Redis(tmp_path) as server:
        watcher = asyncio.create_task(server.wait())
        psutil.Process(server.pid).kill()
        failure = await asyncio.wait_for(watcher, timeout=5)
    assert failure.reason == "ended with code -9"


async def test_stop_takes_the_whole_group_along(tmp_path: Path) -> None:
    """A grandchild that ignores the end of its parent is killed with the group."""
    command = Command(argv=("/bin/sh", "-c", "sleep 600 & echo $!; wait"))
    process = Process("shell", command, tmp_path / "log")
    grandchild = int(await _first_line(process.log_path))
    await process.stop()
    await _until(lambda: not _alive(grandchild))
    assert process.exit_code() == -signal.SIGTERM


async def test_a_stubborn_process_is_killed_after_its_grace(tmp_path: Path) -> None:
    """A process that ignores the signal of its stop is killed when the grace is over."""
    command = Command(
        argv=("/bin/sh", "-c", "trap '' TERM; echo on; while :; do sleep 0.1; done"),
        stop=((signal.SIGTERM, 0.3),),
    )
    process = Process("stubborn", command, tmp_path / "log")
    await _first_line(process.log_path)
    assert await process.stop() == -signal.SIGKILL


async def test_run_to_end_reports_failure_and_time(tmp_path: Path) -> None:
    """A one-shot command that fails or takes too long is told apart."""
    with pytest.raises(PartFailed, match="ended with code 3"):
        await run_to_end("one", Command(("/bin/sh", "-c", "exit 3")), tmp_path / "log", 5.0)
    with pytest.raises(PartFailed, match=r"did not end within 0\.2 s"):
        await run_to_end("two", Command(("/bin/sleep", "60")), tmp_path / "log", 0.2)


async def test_the_environment_of_a_command_is_added(tmp_path: Path) -> None:
    """A variable of the command reaches the child beside those that it inherits."""
    command = Command(("/bin/sh", "-c", "echo $TOLL-${PATH:+path}"), env={"TOLL": "seen"})
    await run_to_end("env", command, tmp_path / "log", 5.0)
    assert log_tail(tmp_path / "log") == ("seen-path",)


async def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    """SIGKILL of the starter ends Envoy, Redis, Postgres and every backend of Postgres."""
    admin_port = free_port()
    bootstrap = tmp_path / "envoy.yaml"
    bootstrap.write_text(BOOTSTRAP.format(port=admin_port))
    arguments = (str(tmp_path / "home"), str(bootstrap), str(admin_port))
    with _parent(arguments, tmp_path / "parent.log") as parent:
        pids = [int(word) for word in (await _first_line(tmp_path / "parent.log")).split()]
        family = [*pids, *(child.pid for child in psutil.Process(pids[0]).children())]
        assert len(family) > len(pids)
        assert all(_alive(pid) for pid in family)
        parent.kill()
    await _until(lambda: not any(_alive(pid) for pid in family))
    assert not (tmp_path / "home/postgres/data/postmaster.pid").exists()


def test_free_ports_are_never_handed_out_twice() -> None:
    """Many ports in a row are all different and all below the range of outgoing connections."""
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == 200
    assert all(1024 < port < 65_536 for port in ports)


def _parent(arguments: tuple[str, ...], log_path: Path) -> subprocess.Popen[bytes]:
    with log_path.open("wb") as log:
        return subprocess.Popen([sys.executable, "-c", PARENT, *arguments], stdout=log)


async def _execute(dsn: str, statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def _value(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def _first_line(path: Path) -> str:
    await _until(lambda: _first_lines(path) != [])
    return _first_lines(path)[0]


def _first_lines(path: Path) -> list[str]:
    """The lines that are complete."""
    return path.read_text().split("\n")[:-1] if path.exists() else []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(ORPHAN_TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
