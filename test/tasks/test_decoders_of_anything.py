# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Whatever shapes, types and numbers a file gives, a decoder decodes it, or refuses it in one line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import AdcpError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.results import LabelMask, Trajectory
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.geometry import plan_geometry

DECODERS: dict[str, tuple[str, int, list[dict[str, Any]]]] = {
    "argmax": ("segmentation", 3, [{}, {"layout": "NHWC"}, {"layout": "LABELS"}, {"upsampling": "bilinear"}]),
    "sigmoid": ("segmentation", 2, [{}, {"scores": "logits"}, {"upsampling": "bilinear"}]),
    "waypoints": (
        "planning", 0,
        [{}, {"step_s": 0.5}, {"scores_output": "second"}, {"values": "displacements", "third": "heading"},
         {"coordinates": 3, "starts_at_vehicle": True}, {"output": "first", "axes": "right_forward"}],
    ),
    "controls": (
        "planning", 0,
        [{}, {"order": ["throttle", "steer"]}, {"steer_output": "first", "throttle_output": "second"}],
    ),
    "steering": ("planning", 0, [{}, {"speed_output": "second"}, {"speed_output": "first"}]),
}  # fmt: skip
SIDES = {"steer_positive": "left", "max_road_wheel_rad": 0.6}
sizes = st.lists(st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16]), max_size=5)
dtypes = st.sampled_from(["float32", "float16", "float64", "uint8", "int64", "bool"])
numbers = st.sampled_from([0.0, -0.0, 0.5, 1.0, -1.0, 3.0, 300.0, -1e30, 1e30, np.nan, np.inf, -np.inf])


@pytest.mark.parametrize("name", DECODERS)
@given(st.data())
def test_a_decoder_decodes_or_refuses(name: str, data: st.DataObject) -> None:
    task_name, labels, every = DECODERS[name]
    options = data.draw(st.sampled_from(every)) | (SIDES if name == "controls" else {})
    manifest = Manifest(
        name="m",
        task=task_name,
        labels=[str(index) for index in range(labels)],
        input={"width": 16, "height": 8},
        output={"decoder": name, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )
    outputs: dict[str, NDArray[Any]] = {}
    specs = []
    for key in ("first", "second")[: data.draw(st.integers(1, 2))]:
        shape, dtype = data.draw(sizes), data.draw(dtypes)
        count = int(np.prod(shape))
        with np.errstate(invalid="ignore", over="ignore"):
            some = np.array(data.draw(st.lists(numbers, min_size=1, max_size=4))).astype(dtype)
        outputs[key] = np.resize(some, count).reshape(shape)
        open_axes = tuple(None if data.draw(st.booleans()) else size for size in shape)
        specs.append(TensorSpec(key, open_axes, dtype))
    task = create_task(manifest)
    try:
        task.decoder.check(tuple(specs))
        result = task.decode(outputs, plan_geometry(task.manifest.input, 20, 10))
    except AdcpError as error:
        assert "\n" not in str(error) and "model 'm'" in str(error)
        return
    if isinstance(result, LabelMask):
        assert result.label_ids.shape == (10, 20) and result.label_ids.max() < labels
    else:
        assert isinstance(result, Trajectory)
        assert np.isfinite(result.points_xy_m).all() and np.isfinite(result.headings_rad).all()
        assert np.isfinite([result.curvature_per_m, result.speed_mps]).all()
