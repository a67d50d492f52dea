"""API keys: ``tk_`` + 32 base62 characters + a 6-character checksum.

The checksum (CRC-32 of the 32 characters, in base62) lets a malformed key be refused without a
look-up. Only the SHA-256 of the whole key is ever stored; the last four characters are kept for
people.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable

PREFIX = "tk_"
SECRET_CHARS = 32
CHECKSUM_CHARS = 6
KEY_CHARS = len(PREFIX) + SECRET_CHARS + CHECKSUM_CHARS
DISPLAY_CHARS = 4

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def generate_key(choose: Callable[[str], str]) -> str:
    """Make a new key; ``choose`` picks one character of an alphabet (``secrets.choice``)."""
    secret = "".join(choose(_ALPHABET) for _ in range(SECRET_CHARS))
    return PREFIX + secret + _checksum(secret)


def is_well_formed(key: str) -> bool:
    """Say whether the text has a key's prefix, length, letters and checksum; costs no look-up."""
    if len(key) != KEY_CHARS or not key.startswith(PREFIX):
        return False
    secret = key[len(PREFIX) : len(PREFIX) + SECRET_CHARS]
    # Letters and digits of ASCII are just the 62.
    return key.isascii() and secret.isalnum() and key.endswith(_checksum(secret))


def hash_key(key: str) -> bytes:
    """SHA-256 of the key: what is stored and looked up."""
    return hashlib.sha256(key.encode()).digest()


def display_digits(key: str) -> str:
    """The last four characters, by which people recognise a key."""
    return key[-DISPLAY_CHARS:]


def _checksum(secret: str) -> str:
    value = zlib.crc32(secret.encode())
    digits = []
    for _ in range(CHECKSUM_CHARS):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(digits)
