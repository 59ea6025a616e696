# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The process that runs a replay's nodes: ``compose``, which ends when the replay does, however that ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when the one that started it ends; Linux only.

    SIGKILL, because a runtime that hangs in native code reacts to nothing else. Other systems do without: the
    replay ends its nodes itself unless it is killed.

    Args:
        parent: process id of the starter; where it has ended already, this process ends here.
    """
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)


def main() -> None:
    """Run ``compose`` with the arguments after the starter's process id."""
    end_with_parent(int(sys.argv.pop(1)))
    from ad_compressed_perception.nodes import compose

    compose.main()


if __name__ == "__main__":
    main()
