"""API keys: their form, their checksum, and what of them is stored."""

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.keys import (
    KEY_CHARS,
    _checksum,
    display_digits,
    generate_key,
    hash_key,
    is_well_formed,
)


def key_of(seed: int) -> str:
    """A key as the program makes it, but always the same for a seed."""
    return generate_key(random.Random(seed).choice)


SEEDED = st.integers(0, 2**32).map(key_of)
PLACES = st.integers(3, KEY_CHARS - 1)
OTHERS = st.sampled_from("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
KNOWN = "tk_0123456789ABCDEFGHIJKLMNOPQRSTUVLdZgg1"


def test_the_form_of_a_key_never_changes() -> None:
    """Keys that people hold stay valid: prefix, 32 characters, this very checksum."""
    places = count()
    assert generate_key(lambda alphabet: alphabet[next(places)]) == KNOWN
    assert is_well_formed(KNOWN)
    assert len(KNOWN) == 3 + 32 + 6


def test_only_the_sha_256_of_the_whole_key_is_stored() -> None:
    """The digest that ``sha256sum`` prints for the same text."""
    digest = "49f37d7e23d4b335a81dacc70cd2f455a2c2ee95fed54a12a244bd88bf76ef48"
    assert hash_key(KNOWN).hex() == digest


def test_people_see_the_last_four_characters() -> None:
    """Enough to tell keys apart, far too little to use one."""
    assert display_digits(KNOWN) == "Zgg1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tk_",
        KNOWN[:-1],
        KNOWN + "0",
        KNOWN[3:],
        "TK_" + KNOWN[3:],
        "sk_" + KNOWN[3:],
        " " + KNOWN[:-1],
        KNOWN[:-1] + "\n",
        KNOWN.lower(),
        "tk_" + "é" + KNOWN[4:],
        "tk_" + "\ud800" * 32 + KNOWN[-6:],
        KNOWN[:-6] + "\u0661" * 6,
    ],
)
def test_a_wrong_form_is_known_without_a_lookup(text: str) -> None:
    """Prefix, length, alphabet and checksum are looked at, nothing else."""
    assert not is_well_formed(text)


@pytest.mark.parametrize("odd", ["-", "_", " ", "+", "/", ".", "\0", "\x7f", "é", "\u0661"])
def test_a_right_checksum_over_other_characters_is_refused(odd: str) -> None:
    """Only base62 was ever handed out, so nothing else is worth a look-up."""
    for secret in ("0" * 31 + odd, odd + "0" * 31, odd * 32):
        assert not is_well_formed("tk_" + secret + _checksum(secret))


@given(key=SEEDED)
def test_every_made_key_is_well_formed(key: str) -> None:
    """Whatever the random characters, in base62 after the prefix."""
    assert is_well_formed(key)
    assert key.removeprefix("tk_").isalnum()
    assert key.isascii()


@given(key=SEEDED, place=PLACES, other=OTHERS)
def test_one_mistyped_character_is_found(key: str, place: int, other: str) -> None:
    """CRC-32 finds every change within 32 bits: any one character, secret or checksum."""
    mistyped = key[:place] + other + key[place + 1 :]
    assert is_well_formed(mistyped) is (mistyped == key)


@given(key=SEEDED, place=st.integers(3, KEY_CHARS - 2))
def test_two_swapped_characters_are_found(key: str, place: int) -> None:
    """The other mistake that hands make."""
    swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
    assert is_well_formed(swapped) is (swapped == key)


@given(text=st.text(max_size=60))
def test_any_text_is_judged_without_a_fault(text: str) -> None:
    """What a client sends as a key never raises; random text is not one."""
    assert not is_well_formed(text)
