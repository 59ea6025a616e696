# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The range of every activation over the calibration frames, by ONNX Runtime's calibrators."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ad_compressed_perception.compression.passes.base import Feeds, PassContext
from ad_compressed_perception.errors import DataError, ModelFileError

Method = Literal["minmax", "entropy", "percentile"]

# Bins of the histogram over -max|x|..max|x|. Fine enough that a percentile of 99.9 is not at the mercy
# of one bin; entropy's search costs the square of it, hence the coarser one.
_PERCENTILE_BINS = 2048
_ENTROPY_BINS = 512
_ENTROPY_QUANTISED_BINS = 128


class _OneFrame:
    """Hands a single frame to a calibrator, which would otherwise hold every activation of all frames."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds: Feeds | None = feeds

    def get_next(self) -> Feeds | None:
        feeds, self._feeds = self._feeds, None
        return feeds


def collect_ranges(
    model: Path, operators: list[str], method: Method, percentile: float, context: PassContext
) -> Any:
    """Run the calibration frames and return ONNX Runtime's ranges of the operators' tensors.

    Args:
        model: the float model with shapes.
        operators: types of operators whose float inputs and outputs are measured.
        method: minmax (smallest and largest value seen), percentile (the central ``percentile`` of the
            values) or entropy (the threshold of least Kullback-Leibler divergence).
        percentile: 0..100, for the method of that name.
        context: gives the frames.

    Raises:
        DataError: no calibration frames.
        ModelFileError: an activation is NaN or infinite.
    """
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    settings: dict[Method, tuple[Any, dict[str, Any]]] = {
        "minmax": (CalibrationMethod.MinMax, {"symmetric": False}),
        "percentile": (
            CalibrationMethod.Percentile,
            {"symmetric": False, "num_bins": _PERCENTILE_BINS, "percentile": percentile},
        ),
        "entropy": (
            CalibrationMethod.Entropy,
            {
                "symmetric": False,
                "num_bins": _ENTROPY_BINS,
                "num_quantized_bins": _ENTROPY_QUANTISED_BINS,
            },
        ),
    }
    calibration_method, options = settings[method]
    # The calibrators print their progress; standard output belongs to the command's result.
    with contextlib.redirect_stdout(io.StringIO()):
        calibrator = create_calibrator(
            model,
            operators,
            augmented_model_path=str(context.scratch / "augmented.onnx"),
            calibrate_method=calibration_method,
            extra_options=options,
        )
        done = 0
        for feeds in context.feeds():
            calibrator.collect_data(_OneFrame(feeds))
            done += 1
            context.advance(done, context.frames)
        if done == 0:
            raise DataError("no calibration frames: the source gave none")
        ranges = calibrator.compute_data()
    for name, data in ranges.items():
        low, high = data.range_value
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ModelFileError(
                f"activation {name!r} is not finite on the calibration frames ({low} to {high}): "
                "no scale can be given to it"
            )
    return ranges
