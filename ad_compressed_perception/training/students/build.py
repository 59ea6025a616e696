# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds a student's graph from its specification; registry of encoders and heads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onnx import ModelProto

from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.training.students.detection_head import detection_head
from ad_compressed_perception.training.students.efficientnet_lite import efficientnet_lite
from ad_compressed_perception.training.students.graph_builder import Feature, GraphBuilder
from ad_compressed_perception.training.students.mobilenet import mobilenet
from ad_compressed_perception.training.students.planning_head import planning_head
from ad_compressed_perception.training.students.segmentation_head import segmentation_head
from ad_compressed_perception.training.students.spec import StudentSpec
from ad_compressed_perception.training.students.squeezenet import squeezenet
from ad_compressed_perception.training.students.trajectory_head import trajectory_head

Encoder = Callable[[GraphBuilder, Feature, StudentSpec], list[Feature]]
Head = Callable[[GraphBuilder, list[Feature], StudentSpec], dict[str, list[int]]]

ENCODERS: Mapping[str, Encoder] = {
    "efficientnet_lite": efficientnet_lite,
    "mobilenet": mobilenet,
    "squeezenet": squeezenet,
}
"""Encoders by name; each returns features at strides 2, 4, 8, 16 and 32."""

HEADS: Mapping[str, Head] = {
    "detection": detection_head,
    "planning": planning_head,
    "segmentation": segmentation_head,
    "trajectory": trajectory_head,
}
"""Heads by task; "trajectory" outputs a plan, "planning" a steering angle."""


def build_student(spec: StudentSpec) -> ModelProto:
    """Return a student's graph with fresh weights: one float NCHW input, batch size one, opset 13.

    Raises:
        RecipeError: an unknown encoder or task.
    """
    if spec.encoder not in ENCODERS:
        raise RecipeError(f"unknown encoder {spec.encoder!r}; known: {', '.join(ENCODERS)}")
    if spec.task not in HEADS:
        raise RecipeError(f"there is no student for task {spec.task!r}; known: {', '.join(HEADS)}")
    builder = GraphBuilder(spec.seed)
    source = Feature(spec.input_name, spec.input_channels, spec.input_height, spec.input_width)
    features = ENCODERS[spec.encoder](builder, source, spec)
    outputs = HEADS[spec.task](builder, features, spec)
    return builder.finish(f"{spec.encoder}_{spec.task}", source, outputs)
