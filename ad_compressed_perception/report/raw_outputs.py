# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Outputs that nothing decodes, as text beside a frame."""

from __future__ import annotations

import numpy as np

from ad_compressed_perception.core.results import RawOutputs

_SHOWN = 3


def describe_outputs(result: RawOutputs) -> str:
    """Return the range of the first outputs in one line."""
    texts = [
        f"{name} {float(values.min()):.3g} to {float(values.max()):.3g}" if values.size else f"{name} empty"
        for name, values in result.outputs.items()
    ]
    return ", ".join(texts[:_SHOWN]) + (f", {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else "")


def describe_errors(baseline: RawOutputs, variant: RawOutputs) -> str:
    """Return the largest error of the first outputs in one line, with its place and both numbers."""
    texts = []
    for name, b in baseline.outputs.items():
        v = variant.outputs.get(name)
        if v is None or v.shape != b.shape:
            texts.append(f"{name}: {list(b.shape)} became {None if v is None else list(v.shape)}")
        elif b.size:
            one, other = np.asarray(b, np.float64), np.asarray(v, np.float64)
            place = np.unravel_index(int(np.argmax(np.abs(other - one))), b.shape)
            where = ", ".join(str(int(axis)) for axis in place)
            texts.append(f"{name}[{where}]: {one[place]:.4g} became {other[place]:.4g}")
    return "largest error: " + "; ".join(texts[:_SHOWN])
