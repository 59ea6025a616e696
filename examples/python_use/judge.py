# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compress a model with frames of your own and judge the variant: judge.py MODEL FRAMES [RECIPE]."""

from __future__ import annotations

import sys

import ad_compressed_perception as adcp


def main(model: str, frames: str, recipe: str = "static_int8") -> int:
    """Print verdict, size, time and agreement; return 0 where the variant was accepted."""
    try:
        result = adcp.compress(model, recipe, frames)
        print(f"{result.name}: {result.verdict.status}; {'; '.join(result.verdict.reasons)}")
        size_ratio = result.variant_sizes.stored_bytes / result.baseline_sizes.stored_bytes
        print(f"size: {size_ratio:.2f} of the baseline")
        # On all kinds of frames, not only on those that compress chose.
        again = adcp.compare(model, frames, result.name, limit=200)
        agreement, latency = again.agreement, again.latency
        print(f"{agreement.measure}: {agreement.score:.3f} on {agreement.frames} frames")
        print(f"{latency.speedup_p50:.2f} times as fast [{latency.speedup_p50_low:.2f}, "
              f"{latency.speedup_p50_high:.2f}]")  # fmt: skip
    except adcp.AdcpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if result.verdict.status == "accepted" else 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 2 else __doc__)
