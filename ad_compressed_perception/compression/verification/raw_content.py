# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whether outputs that nothing decodes say anything, and whether two frames' outputs are the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.results import RawOutputs

# The same numbers but for noise of the computation: as a share of the number, and of the output's deviation.
_SAME_SHARE, _SAME_OF_DEVIATION = 1e-3, 1e-4
_SAME_IDS = 1e-3
_SHOWN = 4
_SAMPLE = 4096


def outputs_have_content(result: RawOutputs) -> bool:
    """Return whether an output holds two different numbers; a single number may mean anything."""
    return any(
        values.size == 1 or (values.size and values.min() != values.max())
        for values in result.outputs.values()
    )


def outputs_differ(first: RawOutputs, other: RawOutputs) -> bool:
    """Return whether any output differs between two frames by more than noise of the computation."""
    return any(
        name not in other.outputs or _differ(values, other.outputs[name])
        for name, values in first.outputs.items()
    )


def describe_constant(first: RawOutputs, count: int) -> str:
    """Return what the outputs of a baseline are, where no frame is informative."""
    ranges = [
        f"{name} {list(values.shape)} from {float(values.min()):.4g} to {float(values.max()):.4g}"
        for name, values in first.outputs.items()
        if values.size
    ]
    more = f" and {len(ranges) - _SHOWN} more" if len(ranges) > _SHOWN else ""
    return f"all {count} frames have the same outputs ({'; '.join(ranges[:_SHOWN]) or 'empty'}{more})"


def _differ(first: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    if first.shape != other.shape:
        return True
    if not first.size:
        return False
    if not np.issubdtype(first.dtype, np.floating):
        return int(np.count_nonzero(first != other)) >= max(1.0, _SAME_IDS * first.size)
    deviation = float(first.std(dtype=np.float64))
    # Most frames differ in any sample; all numbers are read where they do not.
    for step in (max(1, first.size // _SAMPLE), 1):
        one, two = (np.asarray(values.reshape(-1)[::step], np.float64) for values in (first, other))
        if not np.allclose(one, two, rtol=_SAME_SHARE, atol=_SAME_OF_DEVIATION * deviation):
            return True
    return False
