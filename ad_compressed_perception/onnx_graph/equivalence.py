# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compare the outputs of two graphs on a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.core.tensors import Feeds
from ad_compressed_perception.onnx_graph.session import cannot_run, open_session

if TYPE_CHECKING:
    from onnx import ModelProto


def run_model(model: ModelProto, feeds: Feeds) -> dict[str, NDArray[Any]]:
    """Run a graph once with ONNX Runtime on the processor; raise ModelFileError where it cannot."""
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, feeds), strict=True))
    except Exception as error:  # ONNX Runtime's errors share no public base
        raise cannot_run(error) from error


def relative_difference(reference: NDArray[Any], other: NDArray[Any]) -> float:
    """Return max|a - b| / max(max|a|, 1e-6); infinite where the shapes or the NaNs differ."""
    if reference.shape != other.shape:
        return float("inf")
    if reference.size == 0:
        return 0.0
    a, b = reference.astype(np.float64), other.astype(np.float64)
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    finite = np.isfinite(a)
    if not finite.any():
        return 0.0
    span = max(float(np.abs(a[finite]).max()), 1e-6)
    return float(np.abs(a[finite] - b[finite]).max()) / span


def largest_difference(
    before: ModelProto, after: ModelProto, feeds: Feeds, feeds_after: Feeds | None = None
) -> float:
    """Return the largest relative difference of any output on one frame.

    Args:
        before: the graph before a change.
        after: the graph after it.
        feeds: the frame.
        feeds_after: the same frame for the changed graph, where its input has another form.

    Raises:
        ModelFileError: a graph cannot run, or an output is missing.
    """
    reference, other = run_model(before, feeds), run_model(after, feeds_after or feeds)
    lost = [name for name in reference if name not in other]
    if lost:
        raise ModelFileError(f"output {', '.join(lost)} is missing from the graph")
    return max(relative_difference(reference[name], other[name]) for name in reference)


def require_same(
    before: ModelProto,
    after: ModelProto,
    feeds: Feeds,
    tolerance: float,
    feeds_after: Feeds | None = None,
) -> float:
    """Return the largest relative difference; raise ModelFileError where it is above ``tolerance``."""
    difference = largest_difference(before, after, feeds, feeds_after)
    if not difference <= tolerance:
        raise ModelFileError(
            f"the graph's outputs changed by {difference:.2g} of an output's range on a calibration "
            f"frame, allowed is {tolerance:.2g}: leave this pass out, or report the model"
        )
    return difference
