# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Run every style and packaging check; report all of them, fail when one fails."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable, "-m"]


def checks() -> dict[str, list[str]]:
    """Return the command of each check."""
    commands = {
        "style and docstrings": [*PYTHON, "ruff", "check", "."],
        "format": [*PYTHON, "ruff", "format", "--check", "."],
        "types": [*PYTHON, "mypy"],
        "headers and packaging": [
            *PYTHON,
            *("pytest", "-q", "-p", "no:cacheprovider"),
            *("test/project/test_copyright.py", "test/project/test_packaging.py"),
        ],
    }
    if shutil.which("xmllint"):
        files = [str(path) for path in (ROOT / "package.xml", ROOT / "dev/vision_msgs/package.xml")]
        commands["xml"] = ["xmllint", "--noout", *files]
    return commands


def main() -> int:
    """Run all checks; return 0 when all of them pass."""
    failed = []
    for name, command in checks().items():
        print(f"-- {name}: {' '.join(command[1:] if command[0] == sys.executable else command)}")
        sys.stdout.flush()
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(name)
    print(f"lint: failed: {', '.join(failed)}" if failed else "lint: all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
