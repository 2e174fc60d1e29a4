"""The code package and the vendor's command line, each made once and kept between runs."""

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVERLESS_DEVS = "3.1.10"


@pytest.fixture(scope="session")
def package() -> Path:
    """The built package, up to date with the sources."""
    output = ROOT / "dist" / "function.zip"
    subprocess.run([sys.executable, ROOT / "scripts" / "package.py", "--if-changed", "--output", output], check=True)
    return output


@pytest.fixture(scope="session")
def unpacked(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it lies on an instance."""
    code = tmp_path_factory.mktemp("instance") / "code"
    with zipfile.ZipFile(package) as archive:
        for entry in archive.infolist():
            (code / archive.extract(entry, code)).chmod(entry.external_attr >> 16 & 0o777)
    return code


@pytest.fixture(scope="session")
def s_command() -> Path:
    """The real Serverless Devs command line, from npm."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tablestore-openmemory-mcp"
    prefix = cache / f"serverless-devs-{SERVERLESS_DEVS}"
    command = prefix / "node_modules" / ".bin" / "s"
    if not command.exists():
        install = ["npm", "install", "--no-save", "--prefix", str(prefix), f"@serverless-devs/s@{SERVERLESS_DEVS}"]
        prefix.mkdir(parents=True, exist_ok=True)
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL)
    return command


@pytest.fixture(scope="session")
def packaging() -> Any:
    """scripts/package.py as a module."""
    spec = importlib.util.spec_from_file_location("package", ROOT / "scripts" / "package.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def python312(packaging: Any) -> Path:
    """A CPython of the version that the instance has."""
    found = packaging.find_compiler()
    if not found:
        pytest.skip("there is no CPython 3.12 on this machine; PYTHON312 may name one")
    answer = [found, "-c", "import sys; print(sys._base_executable)"]  # not a virtual environment: it has libraries
    return Path(subprocess.run(answer, capture_output=True, text=True, check=True).stdout.strip())
