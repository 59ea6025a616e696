# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which inference gets which fault: by number, or drawn by a seed that makes every run the same."""

from __future__ import annotations

import numpy as np

from ad_road_simulation.faults.options import FaultOptions


class FaultSchedule:
    """Answers for every inference's number, in any order."""

    def __init__(self, options: FaultOptions) -> None:
        """Bind the options."""
        self._options = options
        self._frames = frozenset(options.frames)

    def fault(self, number: int) -> str | None:
        """Return the kind of fault of an inference, counted from 0; None where it has none."""
        options = self._options
        if not options.kind:
            return None
        block = number // options.burst
        rng = np.random.default_rng([options.seed, block])
        is_drawn = rng.random() < options.probability
        kind = options.kind[int(rng.integers(len(options.kind)))]
        if number in self._frames:
            return kind
        is_within = options.from_frame <= number and (options.to_frame is None or number < options.to_frame)
        return kind if is_drawn and is_within else None
