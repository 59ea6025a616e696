# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detection: boxes with scores and classes, in source pixels."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.results import Detections
from ad_compressed_perception.tasks.base import Decoder, Task, TaskSettings
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.nms import class_aware_nms
from ad_compressed_perception.tasks.output_contract import check_boxes


class DetectionSettings(TaskSettings):
    """Live settings of the detection task."""

    score_threshold: float = Field(0.3, ge=0.0, le=1.0, description="least score of a detection")
    nms_iou_threshold: float = Field(
        0.45, ge=0.0, le=1.0, description="IoU above which the weaker box of one class is dropped"
    )
    max_detections: int = Field(100, ge=1, le=10000, description="most detections of one frame")


class DetectionDecoder(Decoder):
    """Raw outputs to candidate boxes.

    Attributes:
        needs_nms: whether an object may have several candidates; a decoder, or one with certain options,
            whose model gives each object once sets it to False, and the task then suppresses nothing.
    """

    needs_nms: bool = True

    @abstractmethod
    def candidates(
        self, outputs: Mapping[str, NDArray[Any]], score_threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
        """Return boxes (N, 4) xyxy in model pixels, scores (N,), class ids (N,) above the threshold.

        Raises:
            OutputError: a value that is read is not finite, or is none that the decoder can mean.
        """

    def label_ids(self, manifest: Manifest) -> NDArray[np.int64]:
        """Return the label of each class score: the option ``label_ids``, all labels where it is absent.

        Raises:
            ManifestError: an id is given twice or is none of the manifest's labels.
        """
        ids = self.options.label_ids
        if ids is None:
            return np.arange(len(manifest.labels))
        if len(set(ids)) != len(ids) or min(ids) < 0 or max(ids) >= len(manifest.labels):
            raise ManifestError(
                f"model {manifest.name!r}, options of decoder {manifest.output.decoder!r}: label_ids {ids} "
                f"must be different numbers of 0..{len(manifest.labels) - 1}"
            )
        return np.asarray(ids, np.int64)


class DetectionTask(Task[Detections]):
    """Finds objects."""

    name = "detection"
    settings_type = DetectionSettings
    decoder_type = DetectionDecoder

    def decode(self, outputs: Mapping[str, NDArray[Any]], geometry: Geometry) -> Detections:
        """Return the detections after class-aware NMS where the decoder needs it, strongest first."""
        settings: DetectionSettings = self.settings
        boxes, scores, class_ids = self.decoder.candidates(outputs, settings.score_threshold)
        spec, labels = self.manifest.input, self.manifest.labels
        check_boxes(boxes, scores, class_ids, len(labels), self.manifest.name, max(spec.width, spec.height))
        most = settings.max_detections
        if self.decoder.needs_nms:
            kept = class_aware_nms(boxes, scores, class_ids, settings.nms_iou_threshold, most)
        else:
            kept = np.argsort(-scores, kind="stable")[:most]
        boxes = geometry.boxes_to_source(boxes[kept])
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        kept = kept[has_area]
        return Detections(boxes[has_area], scores[kept], class_ids[kept], tuple(labels))
