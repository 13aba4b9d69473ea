import os
import subprocess
import sys

import pytest

from liser_ray.training.memory import KEEP_FREED_MEMORY

# Writes 40 MB again and again, in the main thread or in another, and prints how many pages had to be made for it.
SCRIPT = """
import resource, sys, threading
from liser_ray.training.memory import keep_freed_memory

def work():
    for _ in range(20):
        b"x" * 40_000_000

if sys.argv[1] == "asked":
    keep_freed_memory()
work() if sys.argv[2] == "main" else [one := threading.Thread(target=work), one.start(), one.join()]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def pages_made(asked, thread, environment=None):
    command = [sys.executable, "-c", SCRIPT, asked, thread]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | (environment or {}))
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is asked")
def test_large_blocks_are_cleared_once():
    by_default = pages_made("not asked", "main")
    assert pages_made("asked", "main") < 0.3 * by_default
    assert pages_made("not asked", "thread", KEEP_FREED_MEMORY) < 0.3 * pages_made("not asked", "thread")
