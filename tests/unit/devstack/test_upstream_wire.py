"""HTTP/1.1 as the example upstream reads and writes it, without a socket."""

import asyncio

import pytest

from devstack.upstream.app import CHAT_PATH, PING_PATH, RPC_PATH, Upstream
from devstack.upstream.wire import MAX_BODY_BYTES, MAX_HEAD_BYTES, BadHttp, Connection, Reader


class Wire(asyncio.Transport):
    """A transport that keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


def connected(upstream: Upstream) -> tuple[Connection, Wire]:
    connection, wire = Connection(upstream), Wire()
    connection.connection_made(wire)
    return connection, wire


def request(method: str, path: str, body: str = "", headers: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


async def test_requests_may_arrive_in_any_pieces() -> None:
    """Two requests in a row, byte by byte, are two answers."""
    connection, wire = connected(upstream := Upstream())
    both = request("GET", PING_PATH) + request("POST", RPC_PATH, '{"id":1,"method":"eth_chainId"}')
    for i in range(len(both)):
        connection.data_received(both[i : i + 1])
    assert wire.written.count(b"HTTP/1.1 200 OK") == 2
    assert upstream.seen.count(PING_PATH).answered == upstream.seen.count(RPC_PATH).calls == 1


def test_a_chunked_body_is_put_together() -> None:
    """A proxy that does not know the length sends chunks."""
    reader = Reader()
    head = b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    reader.feed(head + b"3\r\nabc\r\n")
    assert reader.next_request() is None
    reader.feed(b"2;ext=1\r\nde\r\n0\r\n\r\nGET")
    found = reader.next_request()
    assert found is not None
    assert (found.method, found.path, found.body) == ("POST", "/x", b"abcde")
    assert reader.next_request() is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1), 413),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nfffffffff\r\n", 413),
        (b"x" * (MAX_HEAD_BYTES + 1), 431),
    ],
)
def test_what_is_no_request_is_refused(data: bytes, status: int) -> None:
    """Every bound has its own status."""
    reader = Reader()
    reader.feed(data)
    with pytest.raises(BadHttp) as caught:
        reader.next_request()
    assert caught.value.status == status


async def test_a_bad_request_ends_the_connection() -> None:
    """After bytes that make no sense nothing more is read."""
    connection, wire = connected(Upstream())
    connection.data_received(b"nonsense\r\n\r\n")
    assert wire.written.startswith(b"HTTP/1.1 400 ")
    assert wire.closed


async def test_a_stream_is_written_in_chunks_and_counted_at_its_end() -> None:
    """Each event is a chunk of its own, and the request counts as answered when all are out."""
    connection, wire = connected(upstream := Upstream())
    connection.data_received(request("POST", CHAT_PATH, '{"messages":[],"stream":true}'))
    assert upstream.seen.count(CHAT_PATH).answered == 0
    await _until_idle(connection)
    assert wire.written.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    count = upstream.seen.count(CHAT_PATH)
    assert (count.received, count.answered, count.completion_tokens) == (1, 1, 16)


async def test_a_connection_lost_in_mid_stream_counts_as_cut() -> None:
    """What the other side did not wait for was not answered."""
    connection, _ = connected(upstream := Upstream())
    slow = "x-example-chunk-delay-ms: 60000\r\n"
    connection.data_received(request("POST", CHAT_PATH, '{"messages":[],"stream":true}', slow))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    await _until_idle(connection)
    count = upstream.seen.count(CHAT_PATH)
    assert (count.received, count.answered, count.cut) == (1, 0, 1)


@pytest.mark.parametrize(("after", "words"), [(0, 0), (2, 2)])
async def test_it_hangs_up_where_it_was_told_to(after: int, words: int) -> None:
    """A stream ends after so many chunks, without its end."""
    connection, wire = connected(upstream := Upstream())
    header = f"x-example-hang-up-after: {after}\r\n"
    connection.data_received(request("POST", CHAT_PATH, '{"messages":[],"stream":true}', header))
    await _until_idle(connection)
    assert wire.closed
    assert wire.written.count(b'"content":"word') == words
    assert upstream.seen.count(CHAT_PATH).hung_up == 1


async def test_a_paused_reader_holds_the_stream_back() -> None:
    """Nothing is written while the transport's buffer is full."""
    connection, wire = connected(Upstream())
    connection.pause_writing()
    connection.data_received(request("POST", CHAT_PATH, '{"messages":[],"stream":true}'))
    for _ in range(10):
        await asyncio.sleep(0)
    assert wire.written == b""
    connection.resume_writing()
    await _until_idle(connection)
    assert wire.written.endswith(b"0\r\n\r\n")


async def _until_idle(connection: Connection) -> None:
    """Wait for the answer under way, if there is one."""
    if connection._task is not None:
        await asyncio.wait([connection._task], timeout=5)
    await asyncio.sleep(0)
