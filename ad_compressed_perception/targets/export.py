# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Hands a model to a device's tool: graph, calibration set, reference frames, script and README."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ad_compressed_perception.compression.pass_runner import Samples, choose_samples, run_passes
from ad_compressed_perception.compression.recipe import LoadedRecipe, load_recipe
from ad_compressed_perception.compression.verification.task_scores import check_terms, create_score
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, RecipeError, RuleFileError
from ad_compressed_perception.core.host import read_host
from ad_compressed_perception.core.manifest import CalibrationRecord, Manifest, file_sha256
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.data.bad_frames import BadFrameLimit
from ad_compressed_perception.onnx_graph.graph import refresh_outputs
from ad_compressed_perception.onnx_graph.io import finish_model, input_name, pin_input_shape, read_model
from ad_compressed_perception.onnx_graph.session import open_session
from ad_compressed_perception.onnx_graph.tail_cut import cut_before
from ad_compressed_perception.packing.decompress import decompress
from ad_compressed_perception.report.kit.document import write_text
from ad_compressed_perception.report.schemas.device_export import NO_ID, DeviceExport, export_id
from ad_compressed_perception.report.schemas.target_check import TargetFinding
from ad_compressed_perception.targets import device_script
from ad_compressed_perception.targets.check import check_graph
from ad_compressed_perception.targets.export_frames import write_calibration, write_images, write_reference
from ad_compressed_perception.targets.readme import readme_text
from ad_compressed_perception.targets.rule_file import ExportSpec, Target
from ad_compressed_perception.tasks.pipeline import open_pipeline
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
        check_terms(manifest, recipe.recipe.verify, recipe.recipe.accept)
        create_score(manifest, recipe.recipe.verify)
        samples = choose_samples(recipe, request.source, request.frames, request.max_bad_frames)
        model, changed = _build(manifest, recipe, samples, request, folder, progress)
        head, tail, cut = cut_before(model, spec.cut_before)
        findings = check_graph(head, target)
        _refuse(findings, target, request.force)
        outputs = refresh_outputs(model)
        _save(head, folder / MODEL)
        if tail is not None:
            _save(tail, folder / TAIL)
        write_calibration(folder, samples, changed)
        kept: list[str] = []
        if spec.runtime == "litert":
            kept = _convert_to_litert(head, folder / spec.model_file, precision, samples, changed)
        progress("reference frames", 0, 1)
        baseline = open_pipeline(manifest, manifest.baseline)
        try:
            names = write_images(folder / "frames", samples)
            frames = [write_reference(folder, name, baseline, changed) for name in names]
            baseline_outputs = list(baseline.session.info.outputs)
        finally:
            baseline.close()
        progress("reference frames", 1, 1)
        original = manifest.checked_path(manifest.baseline, allow_rejected=True)
        document = DeviceExport(
            export_id=NO_ID,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=manifest.name,
            task=manifest.task,
            variant=recipe.recipe.name,
            target=target.name,
            precision=precision,
            model_sha256=file_sha256(folder / MODEL),
            model_file=spec.model_file,
            model_file_sha256=_sha256(folder / spec.model_file),
            recipe_sha256=file_sha256(folder / RECIPE),
            tail_sha256=_sha256(folder / TAIL),
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
            float_operators=kept,
            frames=frames,
        )
        as_read = DeviceExport.parse(document.to_json())
        document = document.model_copy(update={"export_id": export_id(as_read)})
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
    try:
        return LoadedRecipe(path)
    except RecipeError as error:
        raise RecipeError(str(error).replace(str(path), f"{precision} of {target.name}")) from error


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
) -> list[str]:
    """Write the .tflite file; return the outputs of the operators that stay in float where it is int8.

    Raises:
        AdcpError: the converter is missing or refuses the graph.
    """
    from ad_compressed_perception.compression.passes.export.litert import ExportLiteRt, write_litert

    ExportLiteRt({}).require_packages()
    prepare, name = Preparer(changed.input), input_name(head)
    feeds = ({name: prepare(frame)[0].copy()} for frame in samples.calibration)
    kind: Precision = "int8" if precision == "int8" else "fp16" if precision == "fp16" else "fp32"
    notes = write_litert(head, path, kind, feeds if kind == "int8" else ())
    return list(notes.get("float_operators", []))


def _declared(model: ModelProto) -> Iterable[TensorSpec]:
    """Return the graph's outputs as a runtime has them."""
    session = open_session(model)
    dtypes = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}
    for value in session.get_outputs():
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        yield TensorSpec(value.name, shape, dtypes.get(value.type, value.type[7:-1]))


def _sha256(path: Path) -> str | None:
    """Return a file's hash; None where the export has none of this name, which the vendor's commands make."""
    return file_sha256(path) if path.is_file() else None


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
        "dtypes": [one.dtype for one in document.device_outputs],
        "frames": [{"name": one.name, "input": f"inputs/{one.name}.npy"} for one in document.frames],
    }
    write_text(folder / JOB, json.dumps(job, indent=1) + "\n")
