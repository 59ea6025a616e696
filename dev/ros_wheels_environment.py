# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Let this virtual environment's Python find the ROS 2 wheels in it, in a bare shell.

The set-up copies this module into the virtual environment and imports it from a `.pth` file that is
read before the wheels' own one, which then restarts Python with the right library path.
"""

import os
import sys


def prepare(prefix: str) -> None:
    """Add `prefix` to the ament prefix path and undo a half-inherited environment."""
    prefixes = [entry for entry in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if entry]
    if prefix not in prefixes:
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([*prefixes, prefix])
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep)
    if os.path.join(prefix, "lib") not in libraries:
        # The guard was inherited without its library path (a cleaned environment, another venv).
        os.environ.pop("_ROS_WHEELS_BOOTSTRAP_COMPLETE", None)


prepare(sys.prefix)
