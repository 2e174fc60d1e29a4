"""A real Tablestore instance where a test expects an emulator: what only an emulator can do is skipped."""

import os
import secrets
from typing import Any, NoReturn

import pytest
import tablestore as sdk

NAMES = ("ENDPOINT", "ACCESS_KEY_ID", "ACCESS_KEY_SECRET", "INSTANCE_NAME")  # in the order of OTSClient


class RealInstance:
    """Named by TABLESTORE_ENDPOINT and so on. All tables are the tests' own: a random `prefix`."""

    def __init__(self) -> None:
        given = {f"TABLESTORE_{name}": os.environ.get(f"TABLESTORE_{name}", "") for name in NAMES}
        assert all(given.values()), f"make test-real needs {', '.join(given)} in the environment"
        self.endpoint, self.key_id, self.secret, self.instance = given.values()
        self.prefix = f"test_{secrets.token_hex(4)}"

    def drop_tables(self) -> None:
        """Remove what the tests made."""
        client = sdk.OTSClient(self.endpoint, self.key_id, self.secret, self.instance)
        for table in client.list_table():
            if table.startswith(f"{self.prefix}_"):
                for _, index in client.list_search_index(table):
                    client.delete_search_index(table, index)
                client.delete_table(table)

    def clear_faults(self) -> None: ...

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def only_an_emulator(*_: Any, **__: Any) -> NoReturn:
            pytest.skip(f"a real instance has no {name}()")

        return only_an_emulator
