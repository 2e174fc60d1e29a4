"""For all tests: what hypothesis generates is new in every run, but the same in every run of CI."""

import os

from hypothesis import settings

import tablestore_openmemory_mcp  # noqa: F401 - before numpy, which reads then how many threads to use

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
