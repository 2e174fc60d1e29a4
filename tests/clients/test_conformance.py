"""The official conformance suite against the running server, over Streamable HTTP (it knows no other transport).

conformance/*.yml name the scenarios that do not apply to a server with four memory tools, and say why.
"""

import subprocess
from pathlib import Path

import pytest

from support.processes import Server, clean_environ
from support.real_clients import HERE, node_program

pytestmark = pytest.mark.slow

# Not scored in their release yet ("pending", or added later), but they apply to us.
NOT_SCORED = [("http-header-validation", "2026-07-28"), ("server-session-lifecycle", "2025-11-25")]


@pytest.mark.parametrize("revision", ["2025-11-25", "2026-07-28"])
def test_what_a_revision_requires(revision: str, server: Server, tmp_path: Path) -> None:
    baseline = HERE / "conformance" / f"{revision}.yml"
    assert "Baseline check passed" in conform(
        server, tmp_path, "--requirements", revision, "--expected-failures", str(baseline)
    )


@pytest.mark.parametrize(("scenario", "revision"), NOT_SCORED)
def test_what_it_does_not_require_yet(scenario: str, revision: str, server: Server, tmp_path: Path) -> None:
    conform(server, tmp_path, "--scenario", scenario, "--spec-version", revision)


def conform(server: Server, tmp_path: Path, *options: str) -> str:
    """What the suite printed. Raises AssertionError with it if a scenario failed."""
    url = f"http://localhost:{server.port}/mcp/conformance/http/suite"
    done = subprocess.run(
        [*node_program("conformance"), "server", "--url", url, "--output-dir", str(tmp_path / "out"), *options],
        env=clean_environ(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
