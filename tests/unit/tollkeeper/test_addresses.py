"""Addresses of roles and of their workers."""

import pytest

from tollkeeper.addresses import (
    MAX_UNIX_PATH_BYTES,
    Address,
    for_workers,
    parse_address,
    parse_addresses,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:50051", Address("127.0.0.1", 50051)),
        ("[::1]:80", Address("::1", 80)),
        ("authz.internal:1", Address("authz.internal", 1)),
        ("unix:/run/authz.sock", Address(path="/run/authz.sock")),
    ],
)
def test_an_address_is_read_and_written_alike(text: str, address: Address) -> None:
    """What an address is read from is what it is written as."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    ["", "50051", "host", "host:0", "host:65536", "::1:80", "unix:", "a b:1", "http://host:1"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """A text without host and port, or without a path, is no address."""
    with pytest.raises(ValueError, match=r"address|port|path"):
        parse_address(text)


def test_a_socket_path_has_the_kernels_bound() -> None:
    """A path that the kernel would cut is refused before anything listens."""
    longest = "/" + "a" * (MAX_UNIX_PATH_BYTES - 1)
    assert parse_address(f"unix:{longest}").path == longest
    with pytest.raises(ValueError, match="107"):
        parse_address(f"unix:{longest}a")


def test_one_address_is_the_first_of_a_row() -> None:
    """Workers listen on ports, or on sockets, that follow the first one."""
    assert for_workers((Address("h", 7000),), 3) == tuple(Address("h", 7000 + i) for i in range(3))
    assert for_workers((Address(path="/a"),), 2) == (Address(path="/a.0"), Address(path="/a.1"))
    assert for_workers((Address(path="/a"),), 1) == (Address(path="/a"),)


def test_several_addresses_are_taken_as_they_are() -> None:
    """Each worker gets its own address, and there must be one for each."""
    both = parse_addresses("h:1, unix:/x")
    assert for_workers(both, 2) == both
    with pytest.raises(ValueError, match="2 addresses for 3 workers"):
        for_workers(both, 3)
    with pytest.raises(ValueError, match="above 65535"):
        for_workers((Address("h", 65_535),), 2)


def test_two_workers_never_share_an_address() -> None:
    """An address that stands twice is refused."""
    with pytest.raises(ValueError, match="twice"):
        parse_addresses("h:1,h:1")
