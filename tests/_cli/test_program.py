"""The program itself, without a command."""

from __future__ import annotations

import subprocess
import sys


def test_program_without_a_command_prints_its_usage():
    """Without a command the usage is printed, and the exit status is 2."""
    done = subprocess.run(
        [sys.executable, "-m", "cxr_sklearn"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: python -m cxr_sklearn")
    assert "Traceback" not in done.stderr
