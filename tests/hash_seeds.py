"""Running a program under several orders of Python's sets."""

from __future__ import annotations

import os
import subprocess
import sys


def outputs_by_hash_seed(program: str) -> set[str]:
    """What a Python program prints with two hash seeds: one text if it does not depend on them."""
    path = os.pathsep.join(sys.path)
    return {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
