# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Add every CPU runtime to the development environment, and a model server in an environment beside it.

Some runtimes want older versions than ``dev/constraints.txt`` states; ``dev/constraints-all.txt`` has those,
and what only they need. A second run is a no-op while the lists are the same.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from dev.setup_env import CONSTRAINTS, DEV, digest, normalized

ALL = DEV / "constraints-all.txt"
LISTS = (DEV / "requirements-train.txt", DEV / "requirements-all.txt")
SERVER_CONSTRAINTS = DEV / "constraints-mlserver.txt"
SERVER_LIST = DEV / "requirements-mlserver.txt"
SERVER_FOLDER = "mlserver"
"""In the virtual environment's folder; the Makefile names its Python to the tests."""
OLDEST = (3, 11)


def combined(pins: Iterable[str], overriding: Iterable[str]) -> list[str]:
    """Return the pins of both lists; where both have a distribution, that of the second one."""
    second = [line for line in overriding if line and not line.startswith("#")]
    taken = {normalized(line) for line in second}
    return [*(line for line in pins if normalized(line) not in taken), *second]


def install(python: Path, constraints: Path, lists: Iterable[Path], further: list[str]) -> None:
    """Run pip; raise CalledProcessError where it failed."""
    options = [argument for path in lists for argument in ("-r", str(path))]
    subprocess.run(
        [str(python), "-m", "pip", "install", "-qq", "-c", str(constraints), *options, *further], check=True
    )


def main() -> int:
    """Install both; return 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--venv", type=Path, required=True, help="made by make setup")
    parser.add_argument("pip_arguments", nargs="*", help="for pip, after --")
    given = parser.parse_args()
    if sys.version_info < OLDEST:
        print(f"skipped: not every runtime has wheels for Python {sys.version_info[0]}.{sys.version_info[1]}")
        return 0
    venv = given.venv.absolute()
    lists = (*LISTS, SERVER_LIST, ALL, CONSTRAINTS, SERVER_CONSTRAINTS)
    marker, stamp = venv / ".adcp-setup-all", digest(lists, sys.version, given.pip_arguments)
    if marker.is_file() and marker.read_text("utf-8") == stamp:
        return 0
    constraints = venv / "constraints-all.txt"
    lines = combined(CONSTRAINTS.read_text("utf-8").splitlines(), ALL.read_text("utf-8").splitlines())
    constraints.write_text("\n".join(lines) + "\n", "utf-8")
    server = venv / SERVER_FOLDER
    try:
        print("set-up: every runtime ...", flush=True)
        install(venv / "bin" / "python", constraints, LISTS, given.pip_arguments)
        print("set-up: model server ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(server)], check=True)
        install(server / "bin" / "python", SERVER_CONSTRAINTS, [SERVER_LIST], given.pip_arguments)
    except subprocess.CalledProcessError as error:
        print(f"set-up: {' '.join(error.cmd[:4])} ... failed with status {error.returncode}", file=sys.stderr)
        return 1
    marker.write_text(stamp, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
