"""Matrices are multiplied on the thread that needs them: numpy's library would start one for each core, and let them
wait for each other in a loop."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest

COUNT = """
import os
import tablestore_openmemory_mcp
import numpy as np
ones = np.ones((500, 500), np.float32)
ones @ ones
print(len(os.listdir("/proc/self/task")))
"""


@pytest.mark.parametrize(("environ", "threads"), [({}, 1), ({"OPENBLAS_NUM_THREADS": "2"}, 2)])
def test_no_thread_is_started_for_a_matrix(environ: Mapping[str, str], threads: int) -> None:
    """Unless the operator wants some."""
    if threads > (os.cpu_count() or 1):
        pytest.skip("a machine with one core")
    given = {"PYTHONPATH": ":".join(p for p in sys.path if p), **environ}
    done = subprocess.run([sys.executable, "-c", COUNT], env=given, capture_output=True, text=True, check=True)
    assert int(done.stdout) == threads
