"""Providers' credentials: named in ``tollkeeper.yaml``, held by the environment or by files."""

from __future__ import annotations

from billing.catalog import Credential
from billing.errors import ConfigError
from tollkeeper.config.schema import Config
from tollkeeper.settings import read_credential


def resolve_credentials(config: Config) -> dict[str, Credential]:
    """The whole header of each upstream that has a credential, by name of upstream.

    Raises :class:`ConfigError` with one line for each credential that is not there, or that no
    header can carry. No line shows a secret.
    """
    found: dict[str, Credential] = {}
    problems: list[str] = []
    for name, upstream in config.upstreams.items():
        if (named := upstream.credential) is None:
            continue
        try:
            secret = read_credential(named.env, named.file)
        except ConfigError as error:
            problems.append(f"credential of upstream {name}: {error}")
            continue
        value = named.prefix + secret
        if not (value.isascii() and value.isprintable()):
            problems.append(f"credential of upstream {name}: holds characters that no header may")
            continue
        found[name] = Credential(named.header, value)
    if problems:
        raise ConfigError("\n".join(problems))
    return found
