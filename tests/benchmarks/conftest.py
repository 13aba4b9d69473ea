"""The benchmarks' scripts can be imported by their names, inside the tests: some import much."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))
