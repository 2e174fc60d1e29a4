"""Where Tablestore is and who asks: plain values, and the seam between the cloud and the embedded store."""

import threading
from dataclasses import dataclass, field
from typing import Protocol

from ...errors import StoreDenied
from ...settings import Settings


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of keys; never mixed with another's."""

    access_key_id: str
    access_key_secret: str = field(repr=False)
    sts_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ConnectionInfo:
    """All that a client needs. `endpoint` is a URL without a path."""

    endpoint: str
    instance: str
    credentials: Credentials


class Connector(Protocol):
    """Finds the service. `connect` is called at first use and again each time the connection is refused.

    `place` is how error messages call it, `setting` the variable that tells where it is.
    """

    place: str
    setting: str

    def connect(self, deadline: float) -> ConnectionInfo: ...
    def use_credentials(self, credentials: Credentials) -> None: ...
    def close(self) -> None: ...


class CloudConnector:
    """A Tablestore instance named by the settings, with the newest credentials it was told of."""

    place = "Tablestore"
    setting = "TABLESTORE_ENDPOINT"

    def __init__(self, settings: Settings) -> None:
        self._endpoint = (settings.tablestore_endpoint or "").rstrip("/")
        self._instance = settings.tablestore_instance_name or ""
        self._lock = threading.Lock()
        self._credentials = _configured(settings)

    def connect(self, deadline: float) -> ConnectionInfo:
        with self._lock:
            credentials = self._credentials
        if credentials is None:
            raise StoreDenied("There are no credentials for Tablestore yet.", setting="TABLESTORE_ACCESS_KEY_ID")
        return ConnectionInfo(self._endpoint, self._instance, credentials)

    def use_credentials(self, credentials: Credentials) -> None:
        with self._lock:
            self._credentials = credentials

    def close(self) -> None:
        pass


def _configured(settings: Settings) -> Credentials | None:
    if not settings.tablestore_access_key_id or not settings.tablestore_access_key_secret:
        return None
    token = settings.tablestore_sts_token
    return Credentials(
        settings.tablestore_access_key_id,
        settings.tablestore_access_key_secret.get_secret_value(),
        token.get_secret_value() if token else None,
    )
