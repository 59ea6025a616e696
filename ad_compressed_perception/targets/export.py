# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hands a model to a device's tool: graph, calibration set, reference frames, script and README."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from ad_compressed_perception.compression.pass_runner import Samples, choose_samples, run_passes
from ad_compressed_perception.compression.recipe import LoadedRecipe, load_recipe
from ad_compressed_perception.core.errors import DataError, ManifestError, ModelFileError, RuleFileError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import CalibrationRecord, Manifest, file_sha256
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.data.frames import read_image_file
from ad_compressed_perception.image.decode import Frame, to_bgr8
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import finish_model, input_name, pin_input_shape, read_model
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.onnx_graph.tail_cut import cut_before
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.report.kit.document import write_text
from ad_compressed_perception.report.schemas.device_export import DeviceExport, ReferenceFrame
from ad_compressed_perception.report.schemas.target_check import TargetFinding
from ad_compressed_perception.targets import device_script
from ad_compressed_perception.targets.check import check_graph
from ad_compressed_perception.targets.readme import readme_text
from ad_compressed_perception.targets.rule_file import ExportSpec, Target
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.tasks.prepare import Preparer
from ad_compressed_perception.workspace.atomic_folder import atomic_folder

if TYPE_CHECKING:
    from onnx import ModelProto

    from ad_compressed_perception.compression.passes.export.base import Precision

MODEL, TAIL, JOB, EXPORT, RECIPE = "model.onnx", "tail.onnx", "job.json", "export.json", "recipe.yaml"
SCRIPT = "run_on_device.py"
AS_IT_IS = "as_it_is"
"""Precision of a variant that is compressed already: only sizes are fixed and the tail is cut."""
# Terms that only a comparison on one machine decides.
_NOT_OF_DEVICES = (
    "min_speedup",
    "max_size_ratio",
    "min_integer_coverage",
    "timed",
    "max_accuracy_drop",
    "accuracy_metric",
)


@dataclass(frozen=True)
class ExportRequest:
    """What is to be exported.

    Attributes:
        source: frames to calibrate on, and other frames that the device runs: BAG, BAG:TOPIC or a folder.
        precision: one of the target's forms; None for its first.
        variant: exported as it is; None: the baseline goes through the form's passes.
        recipe: file or name whose numbers of frames and terms of acceptance hold; None for the defaults.
        frames: frames to calibrate on; None for the recipe's number.
        max_bad_frames: how many frames may be left out; None for the recipe's limit.
        force: export a model that the target's rules refuse, too.
    """

    source: str
    precision: str | None = None
    variant: str | None = None
    recipe: str | None = None
    frames: int | None = None
    max_bad_frames: BadFrameLimit | None = None
    force: bool = False


def export_model(
    manifest: Manifest, target: Target, request: ExportRequest, out: Path, progress: Progress = no_progress
) -> DeviceExport:
    """Write a new folder for a device and its tool, all of it or nothing.

    Raises:
        RuleFileError: the target's rules say nothing of exports, or have no such precision.
        ModelFileError: the rules refuse the exported graph; the line names the node.
        AdcpError: anything wrong with the model, the frames or the folder.
    """
    spec, precision = _form(target, request)
    if manifest.inputs:
        raise ManifestError(
            f"{manifest.name} also takes {', '.join(manifest.inputs)}, which a device is not given yet: "
            "export a model whose only input is the image"
        )
    with atomic_folder(out) as folder:
        folder.mkdir()
        recipe = _write_recipe(folder, target, spec, precision, request)
        samples = choose_samples(recipe, request.source, request.frames, request.max_bad_frames)
        model, changed = _build(manifest, recipe, samples, request, folder, progress)
        head, tail, cut = cut_before(model, spec.cut_before)
        findings = check_graph(head, target)
        _refuse(findings, target, request.force)
        outputs = refresh_outputs(model)
        _save(head, folder / MODEL)
        if tail is not None:
            _save(tail, folder / TAIL)
        _write_calibration(folder, samples, changed)
        if spec.runtime == "litert":
            _convert_to_litert(head, folder / spec.model_file, precision, samples, changed)
        progress("reference frames", 0, 1)
        baseline = open_pipeline(manifest, manifest.baseline)
        try:
            names = _write_images(folder / "frames", samples)
            frames = [_reference(folder, name, baseline, changed) for name in names]
            baseline_outputs = list(baseline.session.info.outputs)
        finally:
            baseline.close()
        progress("reference frames", 1, 1)
        original = manifest.checked_path(manifest.baseline, allow_rejected=True)
        document = DeviceExport(
            export_id=_export_id(folder, frames),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=manifest.name,
            task=manifest.task,
            variant=recipe.recipe.name,
            target=target.name,
            precision=precision,
            model_sha256=file_sha256(folder / MODEL),
            tail_sha256=file_sha256(folder / TAIL) if tail is not None else None,
            cut_nodes=cut,
            baseline_sha256=file_sha256(original),
            baseline_bytes=original.stat().st_size,
            manifest=_portable(manifest),
            changed_manifest=_portable(changed),
            device_outputs=list(_declared(head)),
            outputs=list(outputs),
            baseline_outputs=baseline_outputs,
            calibration=CalibrationRecord(
                source=samples.calibration.source.describe,
                sha256=samples.sha256,
                frames=len(samples.calibration),
            ),
            verification_source=samples.verification.source.describe,
            findings=findings,
            frames=frames,
        )
        document.write(folder / EXPORT)
        _write_job(folder, document, spec, head)
        write_text(folder / SCRIPT, Path(device_script.__file__).read_text(encoding="utf-8"))
        write_text(folder / "README.md", readme_text(document, target, spec))
    return document


def _form(target: Target, request: ExportRequest) -> tuple[ExportSpec, str]:
    spec = target.export
    if spec is None:
        raise RuleFileError(
            f"the rules of {target.name} have no part 'export': models are checked for it only"
        )
    if request.variant is not None:
        if request.precision is not None:
            raise RuleFileError(
                "a variant is exported as it is, which has its precision: name one of the two only"
            )
        return spec, AS_IT_IS
    precision = request.precision or next(iter(spec.precisions))
    if precision not in spec.precisions:
        raise RuleFileError(
            f"{target.name} has no precision {precision!r}; it has: {', '.join(spec.precisions)}"
        )
    return spec, precision


def _write_recipe(
    folder: Path, target: Target, spec: ExportSpec, precision: str, request: ExportRequest
) -> LoadedRecipe:
    """Write the recipe of the form with the terms that a device can meet, and read it."""
    passes = [{"infer_shapes": {}}] if precision == AS_IT_IS else spec.precisions[precision]
    document: dict[str, Any] = {
        "schema": "adcp-recipe/1",
        "name": f"{target.name}_{request.variant or precision}",
        "passes": passes,
    }
    if request.recipe is not None:
        given = load_recipe(request.recipe).recipe
        kept = given.model_dump(
            mode="json", exclude_none=True, include={"calibration", "verify", "accept", "split"}
        )
        document.update(kept)
        for terms in (document["accept"], *document["accept"].get("heads", {}).values()):
            for term in _NOT_OF_DEVICES:
                terms.pop(term, None)
    path = folder / RECIPE
    title = (
        f"# {request.variant or precision} for {target.title}: its passes, and the terms of the verdict.\n"
    )
    write_text(path, title + yaml.safe_dump(document, sort_keys=False, width=110))
    return LoadedRecipe(path)


def _build(
    manifest: Manifest,
    recipe: LoadedRecipe,
    samples: Samples,
    request: ExportRequest,
    folder: Path,
    progress: Progress,
) -> tuple[ModelProto, Manifest]:
    """Return the graph in the target's form, its sizes fixed, and the manifest with its input and output."""
    name = request.variant or manifest.baseline
    described = manifest.for_variant(name)
    model = read_model(decompress(manifest.checked_path(name)))
    scratch = folder / "scratch"
    scratch.mkdir()
    try:
        _, model, changed = run_passes(
            model, recipe, described, samples, read_host(), scratch, scratch / "checkpoints", progress
        )
    finally:
        _remove_tree(scratch)
    pin_input_shape(model, changed.input)
    return model, changed


def _remove_tree(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _refuse(findings: Iterable[TargetFinding], target: Target, force: bool) -> None:
    """Raise ModelFileError where the target's tool would refuse the model."""
    failing = [one for one in findings if one.consequence == "fails"]
    if failing and not force:
        first = failing[0]
        raise ModelFileError(
            f"{target.title} refuses {len(failing)} nodes, first {first.operator} {first.node!r}: "
            f"{first.text}; {first.mend} (it is exported by force only)"
        )


def _save(model: ModelProto, path: Path) -> None:
    finish_model(model, {})
    path.write_bytes(model.SerializeToString(deterministic=True))


def _convert_to_litert(
    head: ModelProto, path: Path, precision: str, samples: Samples, changed: Manifest
) -> None:
    """Write the .tflite file; raise AdcpError where the converter is missing or refuses the graph."""
    from ad_compressed_perception.compression.passes.export.litert import ExportLiteRt, write_litert

    ExportLiteRt({}).require_packages()
    prepare, name = Preparer(changed.input), input_name(head)
    feeds = ({name: prepare(frame)[0].copy()} for frame in samples.calibration)
    kind: Precision = "int8" if precision == "int8" else "fp16" if precision == "fp16" else "fp32"
    write_litert(head, path, kind, feeds if kind == "int8" else ())


def _write_calibration(folder: Path, samples: Samples, changed: Manifest) -> None:
    """Write the calibration frames as images and as the tensors that the model gets."""
    images, tensors = folder / "calibration" / "images", folder / "calibration" / "tensors"
    tensors.mkdir(parents=True)
    prepare = Preparer(changed.input)
    images.mkdir()
    for place, frame in enumerate(samples.calibration):
        _write_png(images / f"{place:06d}.png", frame)
        np.save(tensors / f"{place:06d}.npy", prepare(frame)[0])


def _write_images(folder: Path, samples: Samples) -> list[str]:
    """Write the reference frames without loss; return their names, in the order of time."""
    folder.mkdir()
    frames, stamps = samples.verification, samples.verification.source.stamps_ns()
    chosen = [stamps[index] for index in frames.indices]
    by_stamp = len(set(chosen)) == len(chosen) and min(chosen) >= 0 and sorted(chosen) == chosen
    names = []
    for place, frame in enumerate(frames):
        names.append(f"{chosen[place]}" if by_stamp else f"{place}")
        _write_png(folder / f"{names[-1]}.png", frame)
    return names


def _write_png(path: Path, frame: Frame) -> None:
    pixels: NDArray[Any] = frame.pixels if frame.color == "GRAY" else to_bgr8(frame)
    if not cv2.imwrite(str(path), pixels):
        raise DataError(f"cannot write {path}: is the disk full?")


def _reference(folder: Path, name: str, baseline: Pipeline, changed: Manifest) -> ReferenceFrame:
    """Write the tensor that the device gets of a frame, and what the float baseline gives."""
    image = folder / "frames" / f"{name}.png"
    frame = read_image_file(image)  # as the verdict will read it
    given, expected = folder / "inputs" / f"{name}.npy", folder / "expected" / f"{name}.npz"
    for path in (given, expected):
        path.parent.mkdir(exist_ok=True)
    np.save(given, Preparer(changed.input)(frame)[0])
    feeds, _ = baseline.task.prepare(frame)
    outputs = baseline.session.infer(feeds)
    np.savez(expected, *(outputs[spec.name] for spec in baseline.session.info.outputs))
    return ReferenceFrame(
        name=name,
        image_sha256=file_sha256(image),
        input_sha256=file_sha256(given),
        expected_sha256=file_sha256(expected),
    )


def _declared(model: ModelProto) -> Iterable[TensorSpec]:
    """Return the graph's outputs as a runtime has them."""
    session = open_session(model)
    dtypes = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
    for value in session.get_outputs():
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        yield TensorSpec(value.name, shape, dtypes.get(value.type, value.type[7:-1]))


def _export_id(folder: Path, frames: list[ReferenceFrame]) -> str:
    """Return a hash of what the device's outputs depend on and are compared with."""
    digest = hashlib.sha256(file_sha256(folder / MODEL).encode())
    tail = folder / TAIL
    digest.update(file_sha256(tail).encode() if tail.is_file() else b"")
    for frame in frames:
        digest.update(frame.model_dump_json().encode())
    return digest.hexdigest()


def _portable(manifest: Manifest) -> dict[str, Any]:
    """Return a manifest as data, with the baseline only."""
    found = manifest.model_copy(update={"variants": {manifest.baseline: manifest.variant(manifest.baseline)}})
    dumped: dict[str, Any] = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    dumped.pop("drift_reference", None)
    return dumped


def _write_job(folder: Path, document: DeviceExport, spec: ExportSpec, head: ModelProto) -> None:
    job = {
        "export_id": document.export_id,
        "runtime": spec.runtime,
        "options": spec.options,
        "model_file": spec.model_file,
        "input": input_name(head),
        "outputs": [one.name for one in document.device_outputs],
        "frames": [{"name": one.name, "input": f"inputs/{one.name}.npy"} for one in document.frames],
    }
    write_text(folder / JOB, json.dumps(job, indent=1) + "\n")
