"""``tollkeeper.yaml`` from disk to a checked :class:`Config` with the settings' addresses."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from billing.errors import ConfigError
from tollkeeper.config.crosscheck import crosscheck
from tollkeeper.config.document import read_document
from tollkeeper.config.problems import problems_of
from tollkeeper.config.scalars import check_url
from tollkeeper.config.schema import Config, CredentialModel, UpstreamModel
from tollkeeper.settings import Settings


def load_config(path: Path, settings: Settings) -> Config:
    """Read and check the file, and put the settings' addresses in place of its own.

    Raises :class:`ConfigError` with one line for each problem, ``file:line: key: what to do``.
    Relative paths in the file start at its folder.
    """
    document = read_document(path)
    try:
        config = Config.model_validate(_listed(document.value))
    except ValidationError as error:
        raise document.error(problems_of(document, error)) from None
    if problems := crosscheck(config):
        raise document.error(problems)
    return _with_settings(_with_whole_paths(config, path.parent), settings)


def _listed(value: object) -> object:
    """Lists as tuples: what is in force is never changed in place."""
    if isinstance(value, dict):
        return {key: _listed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_listed(inner) for inner in value)
    return value


def _with_whole_paths(config: Config, folder: Path) -> Config:
    directory = folder / config.ratelimit.directory
    return config.model_copy(
        update={
            "ratelimit": config.ratelimit.model_copy(update={"directory": directory}),
            "upstreams": {n: _whole(u, folder) for n, u in config.upstreams.items()},
        }
    )


def _whole(upstream: UpstreamModel, folder: Path) -> UpstreamModel:
    credential: CredentialModel | None = upstream.credential
    if credential is not None and credential.file is not None:
        credential = credential.model_copy(update={"file": folder / credential.file})
    names = ("ca_file", "certificate_file", "key_file")
    given = {name: getattr(upstream, name) for name in names}
    files = {name: folder / path for name, path in given.items() if path is not None}
    return upstream.model_copy(update={"credential": credential, **files})


def _with_settings(config: Config, settings: Settings) -> Config:
    gateway = config.gateway.model_copy(
        update={
            "listen": settings.gateway_listen or config.gateway.listen,
            "admin_listen": settings.envoy_admin_listen or config.gateway.admin_listen,
        }
    )
    upstreams = dict(config.upstreams)
    for name, url in settings.upstream_urls.items():
        if name not in upstreams:
            known = ", ".join(config.upstreams)
            raise ConfigError(f"TOLLKEEPER_UPSTREAM_URLS: no upstream {name!r}; known are {known}")
        try:
            upstreams[name] = upstreams[name].model_copy(update={"url": check_url(url)})
        except ValueError as error:
            raise ConfigError(f"TOLLKEEPER_UPSTREAM_URLS: {name}: {error}") from error
    return config.model_copy(update={"gateway": gateway, "upstreams": upstreams})
