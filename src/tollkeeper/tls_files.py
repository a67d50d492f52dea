"""Certificates and keys by their files: what a listener shows, and what Envoy shows to it.

In a variable they are one JSON object of paths:
``TOLLKEEPER_AUTHZ_TLS={"certificate": "/tls/authz.pem", "key": "/tls/authz.key"}``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from billing.errors import ConfigError

if TYPE_CHECKING:
    import ssl

Stamp = tuple[tuple[int, int], ...]
"""What files looked like: it changes when one of them does."""
TlsFile = Annotated[Path, BeforeValidator(lambda text: Path(text) if text else text)]


class _Files(BaseModel):
    """Read from an object, or from the text of one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        try:
            return json.loads(given)
        except json.JSONDecodeError:
            raise ValueError("write a JSON object of paths") from None


class ListenerTls(_Files):
    """TLS of one listener, PEM files; with ``client_ca`` only clients with a certificate of that
    authority get in (mTLS)."""

    certificate: TlsFile
    key: TlsFile
    client_ca: TlsFile | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in a stable order."""
        given = (self.certificate, self.key, self.client_ca)
        return tuple(path for path in given if path is not None)

    def stamp(self) -> Stamp:
        """What the files look like now; :class:`ConfigError` with the first that is not there."""
        try:
            found = [path.stat() for path in self.paths]
        except OSError as error:
            raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from error
        return tuple((one.st_ino, one.st_mtime_ns) for one in found)

    def check(self) -> Stamp:
        """The stamp of files that a listener can show; :class:`ConfigError` for all others."""
        stamp = self.stamp()
        self.context()
        return stamp

    def context(self) -> ssl.SSLContext:
        """The same for a server in Python, TLS 1.2 or newer; :class:`ConfigError` when the files
        cannot be used."""
        import ssl  # noqa: PLC0415 - only who listens needs it

        for path in self.paths:
            read_tls_file(path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            # An empty password: a key that is locked is an error, not a question at a terminal.
            context.load_cert_chain(self.certificate, self.key, password="")
        except (OSError, ValueError) as error:
            pair = f"{self.certificate} and {self.key}"
            raise ConfigError(f"{pair} are no certificate and its key: {error}") from error
        if self.client_ca is not None:
            _load_authority(context, self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def uvicorn_options(self) -> dict[str, Any]:
        """What uvicorn needs to show these files, also when they change while it serves; raises
        :class:`ConfigError` when they cannot be used."""
        from tollkeeper.http_tls import renewed_context  # noqa: PLC0415 - only who listens needs it

        context = renewed_context(self)
        return {"ssl_context_factory": lambda _config, _default: context}


class ClientTls(_Files):
    """What a client needs to reach our listeners over TLS; the paths are those that *it* sees.

    ``ca`` signed the certificates of the listeners. ``certificate`` and ``key`` are the client's
    own, for mTLS. With ``server_name`` a listener's certificate must be for that DNS name; without,
    any certificate of ``ca`` is believed.
    """

    ca: TlsFile
    certificate: TlsFile | None = None
    key: TlsFile | None = None
    server_name: str | None = None

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self

    def context(self) -> ssl.SSLContext:
        """The same for a client in Python; :class:`ConfigError` when the files cannot be used."""
        import ssl  # noqa: PLC0415 - only who asks over TLS needs it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self.server_name is not None
        _load_authority(context, self.ca)
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate, self.key, password="")
            except (OSError, ValueError) as error:
                raise ConfigError(f"{self.certificate} cannot be used: {error}") from error
        return context


class RedisTls(_Files):
    """What a Redis client needs for ``rediss://``; the system's authorities without ``ca``."""

    ca: TlsFile | None = None
    certificate: TlsFile | None = None
    key: TlsFile | None = None
    verify_hostname: bool = True

    @model_validator(mode="after")
    def _has_both(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together")
        return self


def read_tls_file(path: Path) -> bytes:
    """The content of a file; :class:`ConfigError` when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _load_authority(context: ssl.SSLContext, path: Path) -> None:
    read_tls_file(path)
    try:
        context.load_verify_locations(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} holds no certificate of an authority: {error}") from error
