# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Facts about host and model: available runtimes, applicable graph edits, profile of the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ad_compressed_perception.analysis.profile import profile_variant
from ad_compressed_perception.backends import backend_names
from ad_compressed_perception.compression.frame_split import FrameSample
from ad_compressed_perception.compression.pass_runner import Samples, run_passes
from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.search.candidate import GRAPH_OPTIMIZATION, Candidate, RecipeMaker
from ad_compressed_perception.core.errors import AdcpError, BackendError, ModelFileError
from ad_compressed_perception.core.host import HostInfo
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.one_line import one_line
from ad_compressed_perception.core.progress import Progress, no_progress
from ad_compressed_perception.core.registry import BACKENDS, find
from ad_compressed_perception.onnx_graph.subgraphs import copied
from ad_compressed_perception.tasks.pipeline import open_pipeline

if TYPE_CHECKING:
    from onnx import ModelProto

# Least share of the time that an edit must be able to save to be tried.
MATTERS = 0.02
_RUNS = 8
# Edits that are tried alone on the optimized graph, to find which of them apply to it.
EDITS: dict[str, Any] = {
    "drop_softmax": {"trim_output": {"argmax": "drop_softmax"}},
    "coarse": {"trim_output": {"argmax": "coarse"}},
    "stem": "focus_to_conv",
    "rows": "flatten_per_level",
    "bytes": "embed_preprocessing",
    "fit": {"input_size": {"fit": "frames"}},
    "resize": {"input_size": {"factor": 0.5}},
    "relu": {"replace_activation": {"to": "relu"}},
    "hard_swish": {"replace_activation": {"to": "hard_swish", "keep": 0.1}},
}
_SILU = ("Sigmoid", "Mul", "QuickGelu", "Silu", "Swish")
# Profiled operators whose time an edit can save; an edit that is not here may save any share.
_OPERATORS = {
    "drop_softmax": ("Softmax", "Transpose", "Reorder", "Sigmoid"),
    "coarse": ("Resize", "Upsample", "Softmax"),
    "stem": ("Slice", "StridedSlice", "Concat"),
    "relu": _SILU,
    "hard_swish": _SILU,
}


@dataclass(frozen=True)
class Facts:
    """What the space of candidates is built from.

    Attributes:
        runtimes: backend and precision of the float candidates, the baseline's first.
        edits: name and pass of the edits that apply to the graph and that may save time.
        left_out: what is not tried at all, and why.
        shares: share of the baseline's time that each edit could save at most.
        baseline_ms: median inference of the baseline, milliseconds.
        trains: whether training is installed.
    """

    runtimes: tuple[tuple[str, str], ...]
    edits: dict[str, Any]
    left_out: dict[str, str] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    baseline_ms: float = 1.0
    trains: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Facts:
        """Read what ``as_dict`` gave."""
        runtimes = tuple((str(backend), str(precision)) for backend, precision in values["runtimes"])
        return cls(**{**values, "runtimes": runtimes})


def find_facts(
    manifest: Manifest,
    model: ModelProto,
    host: HostInfo,
    maker: RecipeMaker,
    scratch: Path,
    progress: Progress,
) -> Facts:
    """Inspect host and model.

    Raises:
        AdcpError: the baseline cannot be optimized or run; every candidate depends on both.
    """
    left_out: dict[str, str] = {}
    runtimes = _runtimes(host, left_out)
    if not runtimes:
        raise BackendError("no backend here runs ONNX files: install onnxruntime or openvino")
    sample = FrameSample(maker.frames.source, maker.frames.subset(4).indices)
    samples = Samples(sample, sample, "")
    plain = Candidate("optimized", "onnxruntime", {}, graph_optimization=GRAPH_OPTIMIZATION)
    optimized = _apply(plain, manifest, model, samples, host, maker, scratch / "optimized")[0]
    shares, baseline_ms = _profile(manifest, maker)
    edits = {}
    labels = maker.verify.get("labels")
    steps = {**EDITS, **({"labels": {"select_classes": {"labels": labels}}} if labels else {})}
    for number, (name, step) in enumerate(steps.items()):
        progress("inspect", number, len(steps))
        share = shares.get(name, 1.0)
        candidate = Candidate(f"probe_{name}", "onnxruntime", {}, graph_optimization=(step,))
        try:
            changed = _apply(candidate, manifest, copied(optimized), samples, host, maker, scratch / name)[1]
        except AdcpError as error:
            left_out[name] = one_line(error).removeprefix(f"pass {candidate.pass_names[0]}: ")
            continue
        if name == "fit" and changed.input == manifest.input:
            left_out[name] = "the frames fill the input already"
        elif share < MATTERS:
            left_out[name] = f"could save at most {share:.1%} of the time"
        else:
            edits[name] = step
    missing = [name for name in ("torch", "torch_pruning", "safetensors") if find_spec(name) is None]
    if missing:
        left_out["training"] = f"needs the extra [train] ({', '.join(missing)} not installed)"
    return Facts(tuple(runtimes), edits, left_out, shares, baseline_ms, not missing)


def _runtimes(host: HostInfo, left_out: dict[str, str]) -> list[tuple[str, str]]:
    """Return backend and precision of the float candidates that run here; note what is missing."""
    found: list[tuple[str, str]] = []
    for name in backend_names():
        status = find(BACKENDS, name, BackendError).status()
        if not status.available:
            left_out[name] = status.detail or "not installed"
        elif name == "litert":
            left_out[name] = "runs .tflite files; adcp compress makes ONNX files for the other runtimes"
        elif name in ("onnxruntime", "openvino"):
            found.append((name, "fp32"))
    if ("openvino", "fp32") in found:
        if {"avx512_bf16", "amx_bf16", "bf16"} & set(host.isa):
            found.append(("openvino", "bf16"))
        else:
            left_out["bf16"] = "this processor has no bfloat16 instructions"
    return found


def _profile(manifest: Manifest, maker: RecipeMaker) -> tuple[dict[str, float], float]:
    """Return the share of the time that each edit could save, and the baseline's median milliseconds."""
    pipeline = open_pipeline(manifest, manifest.baseline, allow_rejected=True)
    try:
        stages = []
        for frame in maker.frames.subset(_RUNS):
            pipeline.run(frame)  # the first image of a shape is slower
            stages.append(pipeline.run(frame)[1])
    finally:
        pipeline.close()
    total_ms = median(sum(stage.values()) for stage in stages)
    infer_ms = median(stage["infer"] for stage in stages)
    shares = {"bytes": median(stage["prepare"] for stage in stages) / total_ms}
    try:
        operators = profile_variant(manifest, manifest.baseline, runs=_RUNS).operators
    except (BackendError, ModelFileError):
        return shares, infer_ms  # a runtime without layer profiling: every edit is tried
    for edit, names in _OPERATORS.items():
        shares[edit] = sum(one.share for one in operators if one.operator.startswith(names))
    return shares, infer_ms


def _apply(
    candidate: Candidate,
    manifest: Manifest,
    model: ModelProto,
    samples: Samples,
    host: HostInfo,
    maker: RecipeMaker,
    scratch: Path,
) -> tuple[ModelProto, Manifest]:
    scratch.mkdir(parents=True)
    recipe: LoadedRecipe = maker.write(candidate, scratch)
    _, changed, described = run_passes(
        model, recipe, manifest, samples, host, scratch, scratch / "checkpoints", no_progress
    )
    return changed, described
