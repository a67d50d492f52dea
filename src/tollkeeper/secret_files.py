"""Secrets that lie in files: what orchestrators mount, so that nothing stands in an environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

MAX_SECRET_FILE_BYTES = 65_536
"""A larger file is not a secret but a mistake."""


def read_secret_file(path: Path) -> str:
    """Read a secret from a file, without the line end behind it; ``ValueError`` when that fails."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"cannot read the secret in {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read the secret in {path}: it is not UTF-8") from error
    if not text or len(content) > MAX_SECRET_FILE_BYTES:
        raise ValueError(
            f"{path} holds no secret: it is empty or over {MAX_SECRET_FILE_BYTES} bytes"
        )
    return text


def fill_from_files(given: Mapping[str, object], names: Iterable[str]) -> dict[str, object]:
    """Give each secret of ``names`` the content of the file that ``NAME_file`` points to.

    A secret given both ways is a mistake that nobody should guess about: ``ValueError``.
    """
    filled = dict(given)
    for name in names:
        path = filled.get(f"{name}_file")
        if path is None:
            continue
        if filled.get(name) is not None:
            raise ValueError(f"{name} and {name}_file are both set; keep one of them")
        filled[name] = read_secret_file(Path(str(path)))
    return filled
