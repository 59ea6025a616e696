# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The candidates: number formats first, then smaller inputs of the best of them, then training.

All combinations would be hundreds. A base candidate is a runtime with a number format at the model's own
input size and with every edit that changes no result; only the leading ones are also tried on smaller
inputs, with a coarse output and with the normalization in the graph; only the leader of those is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ad_compressed_perception.compression.search.candidate import Candidate
from ad_compressed_perception.compression.search.facts import Facts

FACTORS = (0.75, 0.625, 0.5)
RATIOS = (0.3, 0.55)
LEAST_TRAINING_MINUTES = 2.0
# Time of one training step on one image, in inferences of ONNX Runtime on the same processor.
TRAINING_INFERENCES = 15.0
_MOST_EPOCHS = 20
_VIEWS = (4, 2, 1)

# Per-layer choices are left to the mixed-precision candidates.
_INT8: tuple[Any, ...] = (
    "equalize_channels",
    {"quantize_int8": {"calibration": "mse"}},
    "deduplicate_initializers",
)
_WEIGHTS: tuple[Any, ...] = ("quantize_weights", "deduplicate_initializers")


def base_candidates(facts: Facts, size_asked: bool, seed: int) -> list[Candidate]:
    """Return the candidates at the model's own input size, the cheapest to build first.

    Args:
        facts: of this host and model.
        size_asked: whether the budget limits the size; formats that only save bytes are then tried too.
        seed: orders candidates that are equally cheap.
    """
    ending = _known(facts, "drop_softmax")
    ends = "-no_softmax" if ending else ""
    kept = _known(facts, "labels")
    floats: list[Candidate] = []
    plain: list[Candidate] = []
    for backend, precision in facts.runtimes:
        exact = _exact(facts, backend)
        base = Candidate(f"{backend}-{precision}", backend, _options(backend, precision))
        name = f"{base.name}{ends}{'-edited' if exact else ''}"
        floats.append(replace(base, name=name, edits=(*kept, *exact), ending=ending))
        if name != base.name and not plain:
            plain.append(base)  # to measure the gain of the edits
    integers, small = [], []
    for base, start in _quantizable(facts):
        integers.append(replace(base, name=f"{base.backend}-int8{ends}", form=_INT8))
        if size_asked:
            small += _small(base, start, ends)
    return [*_shuffled(plain + floats, seed), *_shuffled(integers, seed), *small]


def mixed_precision_candidates(facts: Facts, seed: int, max_drop: float) -> list[Candidate]:
    """Return the candidates of mixed precision, which take longest to build.

    Args:
        facts: of this host and model.
        seed: orders them.
        max_drop: the drop that they may take on the calibration frames.
    """
    form = (
        "equalize_channels",
        {"quantize_int8_mixed": {"calibration": "mse", "max_drop": max_drop}},
        "deduplicate_initializers",
    )
    ends = "-no_softmax" if "drop_softmax" in facts.edits else ""
    found = [
        replace(base, name=f"{base.backend}-int8_mixed{ends}", form=form) for base, _ in _quantizable(facts)
    ]
    return _shuffled(found, seed)


def _quantizable(facts: Facts) -> list[tuple[Candidate, str]]:
    """Return the base of the quantized candidates on each runtime, with the name of its float form."""
    kept, ending = _known(facts, "labels"), _known(facts, "drop_softmax")
    found = []
    for backend, precision in _best_floats(facts):
        # On ONNX Runtime an int8 stem is slower as one convolution.
        edits = (*kept, *(_exact(facts, backend) if backend == "openvino" else ()))
        start = Candidate("", backend, _options(backend, precision), edits, ending=ending)
        found.append((start, f"{backend}-{precision}"))
    return found


def _exact(facts: Facts, backend: str) -> tuple[Any, ...]:
    """Return the edits that change no result; flattening per level is faster only for NHWC (OpenVINO)."""
    return _known(facts, "stem", *(["rows"] if backend == "openvino" else []))


def _known(facts: Facts, *names: str) -> tuple[Any, ...]:
    return tuple(facts.edits[name] for name in names if name in facts.edits)


def _small(base: Candidate, start: str, ends: str) -> list[Candidate]:
    """Return the candidates that only save bytes: 8-bit weights, codebooks, packed files."""
    found = [
        replace(base, name=f"{start}-weights_int8{ends}", form=_WEIGHTS),
        replace(base, name=f"{start}-weights_int8-packed{ends}", form=_WEIGHTS, store="packed"),
        replace(base, name=f"{base.backend}-int8-packed{ends}", form=_INT8, store="packed"),
    ]
    for bits in (6, 4):
        codebooks = ({"palettize": {"bits": 8}}, {"palettize": {"bits": bits, "min_size": 2048}})
        name = f"{start}-palettize{bits}{ends}"
        found.append(replace(base, name=name, form=codebooks, store="packed"))
    return found


def derived_candidates(base: Candidate, facts: Facts, seed: int) -> list[Candidate]:
    """Return a base candidate on smaller inputs and with coarser output, the least change first."""
    fit = "fit" in facts.edits
    sizes: list[tuple[str, tuple[Any, ...]]] = [("", ())]
    if fit:
        sizes.append(("-fit", (facts.edits["fit"],)))
    if "resize" in facts.edits:
        for factor in FACTORS:
            scaled = {"input_size": {"factor": factor}}
            steps = (facts.edits["fit"], scaled) if fit else (scaled,)
            sizes.append((f"{'-fit' if fit else ''}-x{factor:g}", steps))
    endings: list[tuple[str, tuple[Any, ...]]] = [("", base.ending)]
    if "coarse" in facts.edits:
        endings.append(("-coarse", (facts.edits["coarse"],)))
    found = []
    for size, step in sizes:
        for name, ending in endings:
            if size or name:
                full = base.name.replace("-no_softmax", "") if name else base.name
                derived = replace(
                    base,
                    name=f"{full}{size}{name}",
                    edits=(*step, *base.edits),
                    ending=ending,
                    parent=base.name,
                )
                found.append(derived)
    # Every second one first, so that a short search still covers the whole range.
    return [*found[1::2], *found[::2]] if seed % 2 else [*found[::2], *found[1::2]]


def with_bytes(candidate: Candidate, facts: Facts) -> Candidate:
    """Return a candidate whose graph takes uint8 images: added after training, which needs float inputs."""
    return replace(
        candidate,
        name=f"{candidate.name}-bytes",
        ending=(facts.edits["bytes"], *candidate.ending),
        parent=candidate.name,
    )


def with_hard_swish(candidate: Candidate, facts: Facts) -> Candidate:
    """Return a candidate with HardSwish for most of its SiLUs and its layers refitted by least squares."""
    steps = (facts.edits["hard_swish"], "reconstruct")
    return replace(candidate, name=f"{candidate.name}-hard_swish", training=steps, parent=candidate.name)


def trained(
    leader: Candidate, facts: Facts, leader_ms: float, training_images: int, minutes: float, seed: int
) -> list[Candidate]:
    """Return the leader pruned, and with ReLU for SiLU, each fine-tuned by distillation.

    Args:
        leader: the best candidate so far, in float.
        facts: of this host and model.
        leader_ms: estimated inference time of the leader's graph in ONNX Runtime, milliseconds.
        training_images: frames to train on at most.
        minutes: for each candidate.
        seed: of training.
    """
    found = []
    for ratio in RATIOS:
        plan = _plan(facts.baseline_ms, leader_ms * (1.0 - ratio), training_images, 0.85 * minutes)
        prune = {"prune_channels": {"ratio": ratio, "round_to": 16, "epochs": 1, "views": 1, "batch": 16,
                                    "learning_rate": 1e-3, "relative_rate": True,
                                    "minutes": round(0.15 * minutes, 2), "seed": seed}}  # fmt: skip
        found.append(_distilled(leader, f"prune{ratio:g}", (prune,), plan, minutes, seed))
    if "relu" in facts.edits:
        plan = _plan(facts.baseline_ms, leader_ms, training_images, minutes)
        found.append(_distilled(leader, "relu", (facts.edits["relu"],), plan, minutes, seed))
    return found


def _distilled(
    leader: Candidate,
    name: str,
    steps: tuple[Any, ...],
    plan: tuple[int, int, int],
    minutes: float,
    seed: int,
) -> Candidate:
    views, epochs, training_images = plan
    distill = {"distill": {"epochs": epochs, "views": views, "batch": 16, "learning_rate": 2e-3,
                         "relative_rate": True, "patience": epochs, "minutes": round(minutes, 2),
                         "seed": seed}}  # fmt: skip
    return replace(
        leader,
        name=f"{leader.name}-{name}",
        training=(*steps, distill),
        training_images=training_images,
        parent=leader.name,
    )


def _plan(teacher_ms: float, student_ms: float, training_images: int, minutes: float) -> tuple[int, int, int]:
    """Return views, epochs and training images that fit the minutes, by how long inferences take.

    More different images are better than more epochs: views grow while at least six epochs are left.
    """
    left_ms = minutes * 60e3
    step_ms = TRAINING_INFERENCES * student_ms
    for views in _VIEWS:
        epochs = int((left_ms / (training_images * views) - teacher_ms) / step_ms)
        if epochs >= 6:
            return views, min(epochs, _MOST_EPOCHS), training_images
    if epochs >= 2:
        return 1, epochs, training_images
    fewer = int(left_ms / (teacher_ms + 2 * step_ms))
    return 1, 2, max(32, min(training_images, fewer))


def _best_floats(facts: Facts) -> list[tuple[str, str]]:
    """Return the lowest float precision of each backend: layers that are not quantized run in it."""
    last: dict[str, str] = dict(facts.runtimes)
    return list(last.items())


def _options(backend: str, precision: str) -> dict[str, Any]:
    return {"precision": precision, "threads": 1} if backend == "openvino" else {"threads": 1}


def _shuffled(candidates: Sequence[Candidate], seed: int) -> list[Candidate]:
    order = np.random.default_rng(seed).permutation(len(candidates))
    return [candidates[index] for index in order]
