# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The agreement score of a manifest's task."""

from __future__ import annotations

from ad_compressed_perception.compression.verification.classification_score import ClassificationScore
from ad_compressed_perception.compression.verification.detection_score import DetectionScore
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.compression.verification.raw_score import RawScore
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.segmentation_score import SegmentationScore
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.metrics.object_parts import GroundCamera
from ad_compressed_perception.pass_api.terms import AcceptSpec, VerifySpec
from ad_compressed_perception.tasks.detection import DetectionTask

_WITHOUT_DISTANCE = {
    RAW: "raw outputs have",
    "planning": "a path has",
    "classification": "a label of the whole frame has",
}


def create_score(manifest: Manifest, spec: VerifySpec) -> AgreementScore:
    """Return the score of a manifest's task.

    Raises:
        RecipeError: ``labels`` names one that the model does not have, or the task has no labels.
        ManifestError: the manifest's settings are wrong.
    """
    if spec.labels is not None:
        unknown = sorted(set(spec.labels) - set(manifest.labels))
        if manifest.task in ("planning", RAW):
            raise RecipeError(f"verify.labels: {manifest.task} has no labels to compare; take the key out")
        if unknown:
            raise RecipeError(
                f"verify.labels: {manifest.name!r} has no label {', '.join(map(repr, unknown))}; it has: "
                f"{', '.join(manifest.labels)}"
            )
    camera = None
    if spec.camera is not None:
        camera = GroundCamera(
            spec.camera.focal_px, spec.camera.center_y_px, spec.camera.height_m, spec.camera.pitch_rad
        )
    if manifest.task == "detection":
        threshold = DetectionTask.parse_settings(manifest.output.settings).score_threshold
        return DetectionScore(
            spec.iou, spec.labels, threshold=threshold, margin=spec.score_margin, camera=camera
        )
    if manifest.task == "segmentation":
        return SegmentationScore(spec.labels, camera)
    if manifest.task == "classification":
        return ClassificationScore(spec.score_margin, spec.labels)
    if manifest.task == RAW:
        return RawScore(manifest)
    return PlanningScore(spec.lateral_tolerance_m, spec.lateral_tolerance_per_m)


def check_terms(manifest: Manifest, verify: VerifySpec, accept: AcceptSpec) -> None:
    """Raise RecipeError where the recipe limits what the task does not have: it would never be decided."""
    if accept.by_size is not None and manifest.task != "detection":
        raise RecipeError(f"accept.by_size: {manifest.task} has no objects; take the term out")
    if manifest.task != RAW:
        _refuse_raw_terms(manifest.task, accept)
    if accept.max_label_drop is not None and manifest.task not in ("segmentation", "classification", RAW):
        raise RecipeError(f"accept.max_label_drop: {manifest.task} has no label masks; take the term out")
    if accept.by_distance is None:
        return
    if manifest.task in _WITHOUT_DISTANCE:
        what = _WITHOUT_DISTANCE[manifest.task]
        raise RecipeError(f"accept.by_distance: {what} no bands of distance; take the term out")
    if verify.camera is None:
        raise RecipeError("accept.by_distance needs the camera: give verify.camera")


def _refuse_raw_terms(task: str, accept: AcceptSpec) -> None:
    for term in ("min_sqnr_db", "min_cosine"):
        if getattr(accept, term) is not None:
            raise RecipeError(f"accept.{term} is of task raw; {task} has max_drop: take the term out")
