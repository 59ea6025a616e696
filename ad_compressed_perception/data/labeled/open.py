# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opens labeled data for a model; its task decides how a data specification is read."""

from __future__ import annotations

from collections.abc import Collection

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.input_sources import history_of, topics_of
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.data.labeled.boxes import BoxData
from ad_compressed_perception.data.labeled.classes import ClassData
from ad_compressed_perception.data.labeled.dataset import LabeledData, split_data_spec
from ad_compressed_perception.data.labeled.drive import DEFAULT_TOLERANCE_MS
from ad_compressed_perception.data.labeled.label_map import load_label_map
from ad_compressed_perception.data.labeled.masks import MaskData
from ad_compressed_perception.data.labeled.paths import PathData, has_paths
from ad_compressed_perception.data.labeled.steering import SteeringData


def open_labeled(
    spec: str,
    manifest: Manifest,
    label_map: str | None = None,
    tolerance_ms: float = DEFAULT_TOLERANCE_MS,
    evaluated: Collection[str] | None = None,
) -> LabeledData:
    """Open labeled frames for a model.

    Args:
        spec: FOLDER, LABELS or LABELS@FRAMES, see data.labeled.
        manifest: the model.
        label_map: file or shipped name of the map from the data's names to the model's labels.
        tolerance_ms: planning: farthest label taken for a frame.
        evaluated: detection without a label map: the model's labels to evaluate; None for all.

    Raises:
        DataError: the data or the label map is missing, malformed or not for this model.
    """
    if manifest.task == RAW:
        raise DataError(
            f"{manifest.name} is of task raw, whose outputs no label is compared with: import it with a task "
            "and a decoder"
        )
    labels, frames = split_data_spec(spec)
    if manifest.task == "planning":
        if label_map is not None:
            raise DataError("a label map is for detection and segmentation; planning has no labels")
        data = (PathData if has_paths(labels) else SteeringData)(labels, frames, tolerance_ms)
        data.take_inputs(manifest)
        return data
    if history_of(manifest.inputs) or topics_of(manifest.inputs):
        raise DataError(
            f"{manifest.name} has the inputs {', '.join(manifest.inputs or ())}, and labeled images come "
            "without them: only planning has others yet"
        )
    classes = load_label_map(label_map) if label_map is not None else None
    if manifest.task == "segmentation":
        return MaskData(labels, frames, manifest.labels, classes)
    if manifest.task == "classification":
        return ClassData(labels, frames, manifest.labels, classes)
    return BoxData(labels, frames, manifest.labels, classes, evaluated)
