# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Range of every activation over the calibration frames, by ONNX Runtime's calibration code.

Frames are processed one at a time, so that memory holds the activations of one frame only. The first
round finds the smallest and largest value of every tensor; methods other than minmax need a second one,
which fills histograms over that range.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ad_compressed_perception.compression.quantization.range_rules import mse_ranges
from ad_compressed_perception.core.errors import AdcpError, DataError, ModelFileError
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.onnx_graph.io import float_constants
from ad_compressed_perception.onnx_graph.reserved_names import ReservedNames
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.pass_api.passes import Feeds, PassContext

Method = Literal["minmax", "entropy", "percentile", "mse"]

# Bins over -max|x|..max|x|: fine enough that 99.99 % does not depend on one bin. The entropy method's
# time grows with their square.
_BINS: dict[Method, int] = {"percentile": 2048, "entropy": 512, "mse": 8192}
_ENTROPY_QUANTIZED_BINS = 128
# Maximum number of values counted per tensor and frame; larger tensors are subsampled.
_MAX_COUNTED = 1 << 18


EMPTY = "empty_on_the_frames"
"""Note of the tensors without a value on the calibration frames, such as boxes that nothing passed as."""
MASKED = "infinite_by_a_constant"
"""Note of the tensors that an infinite constant, such as a mask of attention, makes infinite."""


class _OneFrame:
    """Data reader of a single frame for a calibrator."""

    def __init__(self, feeds: Feeds) -> None:
        self._feeds: Feeds | None = feeds

    def get_next(self) -> Feeds | None:
        feeds, self._feeds = self._feeds, None
        return feeds


def collect_ranges(
    model: Path, operators: list[str], method: Method, percentile: float, context: PassContext
) -> Any:
    """Run the calibration frames and return ONNX Runtime's ranges of the operators' tensors.

    Tensors without a value on any frame and those that a mask makes infinite have none; the notes EMPTY and
    MASKED list them.

    Args:
        model: file of the float model, with shapes.
        operators: types of operators whose float inputs and outputs are measured.
        method: minmax (smallest and largest value seen), percentile (the central ``percentile`` of the
            values), entropy (the symmetric threshold of least Kullback-Leibler divergence; Migacz,
            "8-bit Inference with TensorRT", GTC 2017) or mse (the range of least mean square error),
            the last three clipped to the values seen.
        percentile: 0..100, for the method of that name.
        context: source of the frames.

    Raises:
        DataError: no calibration frames.
        ModelFileError: an activation is NaN or infinite, or ONNX Runtime cannot run the model.
    """
    import onnx

    graph = onnx.load(str(model))
    names = ReservedNames(graph)
    reserved = context.scratch / "reserved_names.onnx"
    onnx.save(graph, str(reserved))

    def feeds() -> Iterator[Feeds]:
        return (names.renamed(one) for one in context.feeds())

    try:
        ranges = _collect(reserved, operators, method, percentile, replace(context, feeds=feeds), names)
    except AdcpError:
        raise
    except Exception as error:  # the runtime's errors share no public base
        reason = names.readable(one_line(error))
        raise ModelFileError(f"ONNX Runtime cannot run the model: {reason}") from error
    return type(ranges)(
        ranges.calibration_method, {names.original(name): data for name, data in ranges.items()}
    )


def _collect(
    model: Path,
    operators: list[str],
    method: Method,
    percentile: float,
    context: PassContext,
    names: ReservedNames,
) -> Any:
    rounds = 1 if method == "minmax" else 2
    # The calibrators print; standard output is reserved for the command's result.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # about NaN, which raises below
        ranges = _smallest_and_largest(model, operators, context, rounds, names)
        if method == "minmax":
            return ranges
        limits = {name: data.range_value for name, data in ranges.items()}
        histograms = _histograms(model, limits, _BINS[method], context)
        return _thresholds(histograms, method, percentile)


def _smallest_and_largest(
    model: Path, operators: list[str], context: PassContext, rounds: int, names: ReservedNames
) -> Any:
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    calibrator = create_calibrator(
        model,
        operators,
        augmented_model_path=str(context.scratch / "augmented.onnx"),
        calibrate_method=CalibrationMethod.MinMax,
        extra_options={"symmetric": False},
    )
    done = 0
    for feeds in context.feeds():
        calibrator.collect_data(_OneFrame(feeds))
        done += 1
        context.advance(done, rounds * context.frames)
    if done == 0:
        raise DataError("no calibration frames: the source is empty")
    ranges = calibrator.compute_data()
    masked = _masked(model)
    for note, found in (
        (EMPTY, [name for name, data in ranges.items() if _is_empty(data)]),
        (MASKED, [name for name, data in ranges.items() if name in masked and _is_infinite(data)]),
    ):
        if found:
            context.notes[note] = sorted(names.original(name) for name in found)
            kept = {name: data for name, data in ranges.items() if name not in found}
            ranges = type(ranges)(ranges.calibration_method, kept)
    for name, data in ranges.items():
        low, high = data.range_value
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ModelFileError(
                f"activation {names.original(name)!r} is not finite on the calibration frames "
                f"({low} to {high}): it has no scale"
            )
    return ranges


def _masked(model: Path) -> set[str]:
    """Return the results of operators that read an infinite constant."""
    import onnx

    graph = onnx.load(str(model))
    infinite = {name for name, values in float_constants(graph) if np.isinf(values).any()}
    return {name for node in graph.graph.node if infinite.intersection(node.input) for name in node.output}


def _is_infinite(data: Any) -> bool:
    low, high = data.range_value
    return bool((np.isinf(low) | np.isinf(high)).any() and not (np.isnan(low) | np.isnan(high)).any())


def _is_empty(data: Any) -> bool:
    """Whether a tensor had no value on any frame: its extremes are still those of the start."""
    low, high = data.range_value
    return bool(np.all(low == np.inf) and np.all(high == -np.inf))


def _histograms(
    model: Path, limits: dict[str, Any], bins: int, context: PassContext
) -> dict[str, tuple[NDArray[Any], NDArray[Any], Any, Any, Any]]:
    """Count each tensor's values over -t..t, t being its largest magnitude.

    Returns:
        Name to (counts (bins,), edges (bins + 1,), smallest, largest, t), as ONNX Runtime's collector
        keeps them.
    """
    import onnx

    graph = onnx.load(str(model))
    given = {value.name for value in graph.graph.input}
    present = {value.name for value in graph.graph.output}
    known = {value.name: value for value in graph.graph.value_info}
    graph.graph.output.extend(known[name] for name in limits if name in known and name not in given | present)
    session = open_session(graph, as_written=True)
    measured = [output.name for output in session.get_outputs() if output.name in limits]
    found: dict[str, tuple[NDArray[Any], NDArray[Any], Any, Any, Any]] = {}
    for done, feeds in enumerate(context.feeds(), start=1):
        values = dict(zip(measured, session.run(measured, feeds), strict=True))
        values.update({name: array for name, array in feeds.items() if name in limits})
        for name, array in values.items():
            # The calibrator returns scalars as arrays of one element.
            low, high = (np.asarray(limit).reshape(()) for limit in limits[name])
            bound = np.maximum(np.abs(low), np.abs(high))
            flat = array.ravel()[:: max(1, array.size // _MAX_COUNTED)]
            counts, edges = np.histogram(flat, bins, range=(-float(bound), float(bound)))
            before = found[name][0] if name in found else 0
            found[name] = (counts + before, edges.astype(array.dtype), low, high, bound)
        context.advance(context.frames + done, 2 * context.frames)
    return found


def _thresholds(histograms: dict[str, Any], method: Method, percentile: float) -> Any:
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import HistogramCollector, TensorData, TensorsData

    if method == "mse":
        best = {
            name: TensorData(lowest=np.array(low, np.float32), highest=np.array(high, np.float32))
            for name, (low, high) in mse_ranges(histograms).items()
        }
        return TensorsData(CalibrationMethod.MinMax, best)
    collector = HistogramCollector(
        method=method,
        symmetric=False,
        num_bins=_BINS[method],
        num_quantized_bins=_ENTROPY_QUANTIZED_BINS,
        percentile=percentile,
        scenario="same",
    )
    collector.histogram_dict = histograms
    kinds = {"percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}
    return TensorsData(kinds[method], collector.compute_collection_result())
