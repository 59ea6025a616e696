# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``python -m ad_road_simulation.demo [BAG] [--models DIR ...] [--out DIR]``."""

import sys


def _run() -> int:
    # Imported here: it takes a second, and Ctrl-C during it must not print a traceback.
    try:
        from ad_road_simulation.demo.command import main

        return main()
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(_run())
