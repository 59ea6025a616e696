# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation of outputs without a loss of their own: pixels, logits and probabilities in one tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.pruning.prune_channels import PruneChannels
from ad_compressed_perception.core.errors import ModelFileError
from ad_compressed_perception.importing.import_model import import_model
from support.detectors import HEADS, head_request
from support.training import QUICK, perturbed

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-train")
pytest.importorskip("safetensors", reason="safetensors is not installed: make setup-train")
pytest.importorskip("torch_pruning", reason="torch_pruning is not installed: make setup-train")


@pytest.mark.parametrize("head", ["yolo", "centernet", "grid"])
def test_a_perturbed_head_learns_its_teachers_outputs(tmp_path: Path, head: str) -> None:
    file = tmp_path / "stranger.onnx"
    import_model(file, tmp_path / "model", head_request(HEADS[head](file)))
    model, context = perturbed(tmp_path / "model", tmp_path / "scratch")
    Distill({**QUICK, "learning_rate": 5e-3, "relative_rate": True}).apply(model, context)
    assert context.notes["loss_after"] < 0.6 * context.notes["loss_before"]


@pytest.mark.parametrize("shape", [(2, 7, 40), (2, 40, 7), (2, 7, 8, 9), (2, 8, 9, 7), (2, 3, 8, 9, 7)])
def test_no_channel_weighs_more_for_its_unit(shape: tuple[int, ...]) -> None:
    from ad_compressed_perception.training.distillation.output_loss import channel_axis, output_loss

    rng = np.random.default_rng(0)
    axis = channel_axis(shape)
    assert shape[axis] == 7
    unit = np.ones(len(shape), int)
    unit[axis] = 7
    units = np.array([640.0, 640.0, 640.0, 640.0, 1.0, 0.01, 1.0]).reshape(unit)
    teacher, noise = rng.normal(0, 1, shape), rng.normal(0, 1, shape)

    def loss(of_teacher: object, of_student: object) -> float:
        return float(output_loss([torch.as_tensor(of_student)], [torch.as_tensor(of_teacher)]))

    expected = loss(teacher, teacher + noise)
    assert loss(teacher * units, (teacher + noise) * units) == pytest.approx(expected)
    assert loss(teacher * units, teacher * units) == 0.0
    # A constant of the teacher must stay what it is: 1 % of it is one unit of its spread.
    assert loss(np.full(shape, 5.0), np.full(shape, 5.1)) == pytest.approx(1.5)


def test_a_graph_that_cannot_be_pruned_is_refused_in_one_line(tmp_path: Path) -> None:
    """The product of one objectness and three classes: torch-pruning divides by a number of channels of 0."""
    file = tmp_path / "stranger.onnx"
    import_model(file, tmp_path / "model", head_request(HEADS["yolo"](file)))
    model, context = perturbed(tmp_path / "model", tmp_path / "scratch")
    with pytest.raises(ModelFileError, match="prune_unstructured"):
        PruneChannels({**QUICK, "ratio": 0.2, "steps": 1, "round_to": 1}).apply(model, context)
