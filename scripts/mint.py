"""Make a token for the deployed function, or revoke one: `python3 scripts/mint.py --user alice --client cline`.

It invokes the function with the MCP_MINT_KEY of .env, which `s init` made. If .env has none, one is put there, to be
deployed once. Needs nothing but the standard library and `s`; the key is never on a command line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAME = "MCP_MINT_KEY"


def mint_key(environment: Path) -> str | None:
    """The key in this .env; None if it has none."""
    text = environment.read_text("utf-8") if environment.exists() else ""
    found = re.findall(rf"(?m)^\s*(?:export\s+)?{NAME}\s*=\s*(['\"]?)([A-Za-z0-9_+/=-]*)\1\s*$", text)
    return found[-1][1] or None if found else None


def add_mint_key(environment: Path) -> None:
    """Write a new key into this .env, which only its owner may read."""
    text = environment.read_text("utf-8") if environment.exists() else ""
    kept = [line for line in text.splitlines() if not re.match(rf"\s*(export\s+)?{NAME}\s*=", line)]
    draft = environment.with_name(f"{environment.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write("\n".join([*kept, f"{NAME}='{secrets.token_urlsafe(32)}'", ""]))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(environment)


def event_of(arguments: argparse.Namespace, key: str) -> dict[str, str]:
    """What the function is asked; see fc/operator.py."""
    asked = {"user": arguments.user, "client": arguments.client, "expires": arguments.expires}
    if arguments.revoke:
        asked = {"revoke": arguments.revoke}
    return {"action": "token", "key": key, **{name: value for name, value in asked.items() if value}}


def invoke(event: dict[str, str]) -> int:
    """`s invoke` with this event; its exit status."""
    with tempfile.TemporaryDirectory() as private:  # mode 0700
        file = Path(private) / "event.json"
        file.write_text(json.dumps(event), "utf-8")
        return subprocess.run(["s", "invoke", "-f", str(file)], cwd=ROOT, check=False).returncode  # noqa: S603, S607


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--user", metavar="NAME", help="user_id; '*' in it matches all")
    what.add_argument("--revoke", metavar="ID", help="refuse the token with this id from now on")
    parser.add_argument("--client", metavar="NAME", help="client_name; '*', the default, matches all")
    parser.add_argument("--expires", metavar="90d", help="30m, 12h, 90d (the default) or never")
    arguments = parser.parse_args()
    environment = ROOT / ".env"
    key = mint_key(environment)
    if key is None:
        add_mint_key(environment)
        print(f"{environment} had no {NAME}; it has one now. Run `s deploy -y` once, then this again.", file=sys.stderr)
        return 1
    return invoke(event_of(arguments, key))


if __name__ == "__main__":
    sys.exit(main())
