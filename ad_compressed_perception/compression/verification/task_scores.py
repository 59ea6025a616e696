# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The agreement score of a manifest's task."""

from __future__ import annotations

from ad_compressed_perception.compression.verification.classification_score import ClassificationScore
from ad_compressed_perception.compression.verification.detection_score import DetectionScore
from ad_compressed_perception.compression.verification.heads_score import HeadsScore
from ad_compressed_perception.compression.verification.planning_score import PlanningScore
from ad_compressed_perception.compression.verification.raw_score import RawScore
from ad_compressed_perception.compression.verification.scores import AgreementScore
from ad_compressed_perception.compression.verification.segmentation_score import SegmentationScore
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.task_names import RAW
from ad_compressed_perception.metrics.object_parts import GroundCamera
from ad_compressed_perception.pass_api.terms import HEAD_TERMS, AcceptSpec, CameraSpec, VerifySpec
from ad_compressed_perception.tasks.detection import DetectionTask

_ANY_CAMERA = CameraSpec(focal_px=1.0, center_y_px=0.0, height_m=1.0)
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
    if manifest.outputs is not None:
        return HeadsScore(
            {
                name: create_score(manifest.head(name), of_head)
                for name, of_head in _verify_of_heads(manifest, spec).items()
            }
        )
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


def _verify_of_heads(manifest: Manifest, spec: VerifySpec) -> dict[str, VerifySpec]:
    """Return each head's terms: of ``labels`` those that it has, all where it has none of them.

    Raises:
        RecipeError: no head has one of the labels.
    """
    heads = {name: head.labels for name, head in (manifest.outputs or {}).items()}
    known = {label for labels in heads.values() for label in labels}
    unknown = [label for label in spec.labels or () if label not in known]
    if unknown:
        raise RecipeError(
            f"verify.labels: no head of {manifest.name!r} has a label {unknown[0]!r}; they have: "
            f"{', '.join(sorted(known))}"
        )
    chosen = {name: [label for label in spec.labels or () if label in own] for name, own in heads.items()}
    return {name: spec.model_copy(update={"labels": labels or None}) for name, labels in chosen.items()}


def _check_heads(manifest: Manifest, verify: VerifySpec, accept: AcceptSpec) -> None:
    """Check each head's terms; a term that all heads share must be decided by one of them at least."""
    heads = manifest.outputs or {}
    unknown = [name for name in accept.heads or () if name not in heads]
    if unknown:
        raise RecipeError(
            f"accept.heads: model {manifest.name!r} has no head {unknown[0]!r}; it has: {', '.join(heads)}"
        )
    shared = accept.model_copy(update={"heads": None})
    for term in HEAD_TERMS:
        if getattr(shared, term) is None or term == "max_drop":
            continue
        only = AcceptSpec(**{term: getattr(shared, term)})
        refusals = []
        for name in heads:
            try:
                check_terms(manifest.head(name), verify, only)
            except RecipeError as error:
                refusals.append(error)
        if len(refusals) == len(heads):
            raise refusals[0]
    for name, terms in (accept.heads or {}).items():
        own = AcceptSpec(**terms.model_dump(exclude_none=True))
        try:
            check_terms(manifest.head(name), verify, own)
        except RecipeError as error:
            raise RecipeError(f"accept.heads.{name}: {error}") from error


def accept_of_head(accept: AcceptSpec, manifest: Manifest, head: str) -> AcceptSpec:
    """Return the terms of one head: its own, and of the shared ones those that its task has."""
    own = manifest.head(head)
    terms = {term: getattr(accept, term) for term in HEAD_TERMS}
    for term, value in list(terms.items()):
        try:
            check_terms(
                own, VerifySpec(camera=_ANY_CAMERA), AcceptSpec(**({} if value is None else {term: value}))
            )
        except RecipeError:
            terms[term] = None
    chosen = (accept.heads or {}).get(head)
    if chosen is not None:
        terms |= chosen.model_dump(exclude_none=True)
    return AcceptSpec(
        min_frames=accept.min_frames, **{term: value for term, value in terms.items() if value is not None}
    )


def check_terms(manifest: Manifest, verify: VerifySpec, accept: AcceptSpec) -> None:
    """Raise RecipeError where the recipe limits what the task does not have: it would never be decided."""
    if manifest.outputs is not None:
        _check_heads(manifest, verify, accept)
        return
    if accept.heads is not None:
        raise RecipeError(f"accept.heads: model {manifest.name!r} has one task; take the term out")
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
