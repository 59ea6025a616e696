# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Distillation of outputs without a loss of their own: pixels, logits and probabilities in one tensor."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.pruning.prune_channels import PruneChannels
from ad_compressed_perception.importing.import_model import import_model
from ad_compressed_perception.onnx_graph.equivalence import run_model
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
    from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
    from ad_compressed_perception.training.losses import channel_axis, create_loss

    rng = np.random.default_rng(0)
    axis = channel_axis(shape)
    assert shape[axis] == 7
    unit = np.ones(len(shape), int)
    unit[axis] = 7
    units = np.array([640.0, 640.0, 640.0, 640.0, 1.0, 0.01, 1.0]).reshape(unit)
    teacher, noise = rng.normal(0, 1, shape), rng.normal(0, 1, shape)

    value_loss = create_loss([OutputKinds((Columns("value"),))])

    def loss(of_teacher: object, of_student: object) -> float:
        return float(value_loss([torch.as_tensor(of_student)], [torch.as_tensor(of_teacher)]))

    expected = loss(teacher, teacher + noise)
    assert loss(teacher * units, (teacher + noise) * units) == pytest.approx(expected)
    assert loss(teacher * units, teacher * units) == 0.0
    # A constant of the teacher must stay what it is: 1 % of it is one unit of its spread.
    assert loss(np.full(shape, 5.0), np.full(shape, 5.1)) == pytest.approx(1.5)


def test_the_loss_of_a_detectors_rows_is_the_documented_sum() -> None:
    """(1/M) sum_i [ H(o) + t_o sum_c H(c) + t_o max_c t_c |b - b'|_1 ] by hand, of two rows."""
    from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
    from ad_compressed_perception.training.losses import create_loss

    objectness = Columns("probability", 1, is_objectness=True)
    kinds = OutputKinds((Columns("log_size", 4), objectness, Columns("probability")), 2)
    student = torch.tensor([[[0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.2], [9.0, 9.0, 9.0, 9.0, 0.1, 0.5, 0.5]]])
    teacher = torch.tensor([[[0.0, 0.0, 0.0, 0.0, 0.9, 0.8, 0.1], [0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5]]])

    def entropy(t: float, s: float) -> float:
        t, s = min(max(t, 1e-6), 1 - 1e-6), min(max(s, 1e-6), 1 - 1e-6)
        return t * math.log(t / s) + (1 - t) * math.log((1 - t) / (1 - s))

    rows = [(0.9, 0.6, (0.8, 0.1), (0.7, 0.2), 1.0), (0.0, 0.1, (0.5, 0.5), (0.5, 0.5), 36.0)]
    expected = sum(
        entropy(o, p) + o * sum(map(entropy, ts, ss)) + o * max(ts) * apart for o, p, ts, ss, apart in rows
    )
    found = float(create_loss([kinds])([student], [teacher]))
    assert found == pytest.approx(expected / max(1.0, 0.9), rel=1e-4)


def test_logits_count_by_their_probability_and_distributions_up_to_a_constant() -> None:
    from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
    from ad_compressed_perception.training.losses import create_loss

    def loss(kind: str, student: object, teacher: object) -> float:
        return float(create_loss([OutputKinds((Columns(kind),), 1)])([student], [teacher]))

    random = torch.Generator().manual_seed(0)
    numbers = torch.randn(2, 5, 7, generator=random)
    other = torch.randn(2, 5, 7, generator=random)
    by_probability = loss("probability", numbers.sigmoid(), other.sigmoid())
    assert loss("logits", numbers, other) == pytest.approx(by_probability, rel=1e-3)
    shares = other.softmax(1)
    assert loss("distribution", numbers + 3.0, shares) == pytest.approx(loss("distribution", numbers, shares))
    assert loss("distribution", shares.log(), shares) == pytest.approx(0.0, abs=1e-5)


def test_boxes_of_rows_without_an_object_have_no_loss() -> None:
    """Scores and boxes are two outputs of as many rows; the second row has no object."""
    from ad_compressed_perception.tasks.output_kinds import Columns, OutputKinds
    from ad_compressed_perception.training.losses import create_loss

    scores = torch.tensor([[[0.9, 0.1], [0.0, 0.0]]])
    boxes = torch.tensor([[[10.0, 10.0, 40.0, 40.0], [50.0, 80.0, 60.0, 99.0]]])
    loss = create_loss([OutputKinds((Columns("probability"),), 2), OutputKinds((Columns("pixel_box"),), 2)])

    def moved(row: int) -> float:
        student = boxes.clone()
        student[0, row] += 5.0
        return float(loss([scores, student], [scores, boxes]))

    assert moved(1) == pytest.approx(0.0, abs=1e-5)
    assert moved(0) > 0.1


def test_arithmetic_behind_the_last_layer_does_not_stop_pruning(tmp_path: Path) -> None:
    """At the product of one objectness and three classes torch-pruning would divide by 0 channels."""
    file = tmp_path / "stranger.onnx"
    import_model(file, tmp_path / "model", head_request(HEADS["yolo"](file)))
    model, context = perturbed(tmp_path / "model", tmp_path / "scratch")
    pruned = PruneChannels({**QUICK, "epochs": 0, "ratio": 0.5, "steps": 1, "round_to": 1}).apply(
        model, context
    )
    assert context.notes["parameters_after"] < context.notes["parameters_before"]
    assert run_model(pruned, next(context.feeds()))["output"].shape == (1, 7, 80)
