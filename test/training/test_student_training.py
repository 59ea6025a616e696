# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training students from fresh weights: normalization, bfloat16, ground-truth labels in the targets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.passes.distillation.distill import Distill
from ad_compressed_perception.compression.passes.distillation.replace_with_student import ReplaceWithStudent
from ad_compressed_perception.compression.passes.graph.optimize import Simplify
from ad_compressed_perception.compression.passes.quantization.qat import Qat
from ad_compressed_perception.compression.passes.quantization.quantize_int8 import QuantizeInt8
from ad_compressed_perception.core.errors import DataError, RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.metrics.average_precision import GroundTruthBoxes
from ad_compressed_perception.onnx_graph.equivalence import run_model
from ad_compressed_perception.pass_api.passes import PassContext
from ad_compressed_perception.tasks.geometry import Geometry
from ad_compressed_perception.tasks.prepare import Preparer
from support.compression import model_and_context, small_recipe, write_images
from support.graphs import make_graph, noise
from support.labeled import write_masks
from support.models import draw_scene, write_planner, write_segmenter

torch = pytest.importorskip("torch", reason="torch is not installed: make setup-train")
pytest.importorskip("torch_pruning", reason="torch-pruning is not installed: make setup-train")

from ad_compressed_perception.training.augmentation import (  # noqa: E402
    Augmentation,
    draw_augmentation,
    identity_augmentation,
)
from ad_compressed_perception.training.distillation.box_targets import box_correction  # noqa: E402
from ad_compressed_perception.training.distillation.label_correction import (  # noqa: E402
    mask_correction,
    steering_correction,
)
from ad_compressed_perception.training.graph_module.module import GraphModule  # noqa: E402

IMAGES = 16
QUICK: dict[str, Any] = {
    "epochs": 8, "batch": 4, "learning_rate": 4e-3, "threads": 1, "patience": 8, "views": 1,
}  # fmt: skip
SMALL = {"encoder": "squeezenet", "width": 0.25, "input_width": 64, "input_height": 32}
PLAIN = Geometry(8, 4, 8, 4, 0, 0, 8, 4)


def fresh_student(tmp_path: Path, **options: Any) -> tuple[onnx.ModelProto, PassContext]:
    """Return a small untrained segmenter and a context with scenes of different brightness."""
    model, context = model_and_context(write_segmenter(tmp_path / "m"), tmp_path / "s")

    def images() -> Iterator[Frame]:
        for index in range(IMAGES):
            bright = np.clip(draw_scene(index).astype(int) + 16 * (index % 3 - 1), 0, 255)
            yield Frame(bright.astype(np.uint8), "BGR", index)

    context = replace(context, images=images, frames=IMAGES)
    student = ReplaceWithStudent({**SMALL, **options}).apply(model, context)
    name, shape = student.graph.input[0].name, context.input.shape
    feed = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    context.feeds = lambda: iter([{name: feed}])
    return student, context


def weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


NORM = ["scale", "shift", "mean", "var"]


def normalizing_graph() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", *NORM], ["n"], "norm", momentum=0.8),
        helper.make_node("Relu", ["n"], ["y"], "relu"),
    ]  # fmt: skip
    values = {
        "w": noise((6, 3, 3, 3)), "scale": noise((6,)) + 1, "shift": noise((6,)), "mean": noise((6,)),
        "var": np.abs(noise((6,))) + 1,
    }  # fmt: skip
    return make_graph(nodes, values, {"x": [1, 3, 8, 8]}, {"y": [1, 6, 8, 8]})


def test_normalization_trains_like_torchs_batch_norm() -> None:
    """ONNX's momentum is the kept share, torch's the new one: 0.8 and 0.2."""
    values = weights(normalizing_graph())
    module, batch = GraphModule(normalizing_graph()), torch.from_numpy(noise((4, 3, 8, 8), 1))
    reference = torch.nn.BatchNorm2d(6, 1e-5, 0.2)
    reference.load_state_dict(
        {
            key: torch.from_numpy(values[name].copy())
            for key, name in zip(("weight", "bias", "running_mean", "running_var"), NORM, strict=True)
        }
        | {"num_batches_tracked": torch.tensor(0)}
    )  # fmt: skip
    kernel = torch.from_numpy(values["w"].copy())

    for _ in range(3):
        ours = module.train()(batch)[0]
        expected = torch.relu(reference(torch.nn.functional.conv2d(batch, kernel, padding=1)))
        torch.testing.assert_close(ours, expected)

    back = weights(module.write_back())
    np.testing.assert_allclose(back["mean"], reference.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(back["var"], reference.running_var.numpy(), rtol=1e-5)


def test_trained_normalizations_are_written_back_and_can_be_folded(tmp_path: Path) -> None:
    """The trained module, the written file and the file with folded BatchNormalization agree."""
    student, context = fresh_student(tmp_path)
    trained = Distill({**QUICK, "epochs": 2}).apply(student, context)
    feeds = next(context.feeds())

    module = GraphModule(trained)
    with torch.no_grad():
        outputs = module(torch.from_numpy(next(iter(feeds.values()))))[0].numpy()
    written = run_model(trained, feeds)["scores"]
    folded = Simplify().apply(trained, context)

    assert not any(node.op_type == "BatchNormalization" for node in folded.graph.node)
    np.testing.assert_allclose(outputs, written, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(run_model(folded, feeds)["scores"], written, rtol=1e-3, atol=1e-3)


def test_an_untrained_module_keeps_its_normalization_statistics() -> None:
    """Building a module and running it in evaluation mode must not update running statistics."""
    module = GraphModule(normalizing_graph())
    module.allow_batches(torch.from_numpy(noise((1, 3, 8, 8), 2)))

    np.testing.assert_array_equal(weights(module.write_back())["mean"], weights(normalizing_graph())["mean"])


def test_an_untrained_student_runs_batches(tmp_path: Path) -> None:
    """Its scores are in the thousands; rounding of the last digit must not count as a difference.

    Images run one by one have no batch statistics to train on.
    """
    student, context = fresh_student(tmp_path)
    module = GraphModule(student)
    module.allow_batches(torch.from_numpy(next(iter(next(context.feeds()).values()))))

    assert not module.one_by_one


def test_a_single_value_per_channel_is_normalized_by_running_statistics() -> None:
    """One image of one pixel has no variance; this occurs after a global pooling."""
    module = GraphModule(normalizing_graph()).train()
    (norm,) = module.norms.values()

    out = norm(torch.zeros(1, 6, 1, 1))

    assert torch.isfinite(out).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_distillation_reduces_a_fresh_students_loss(tmp_path: Path, precision: str) -> None:
    """From random weights to about a third of the validation loss."""
    student, context = fresh_student(tmp_path)

    Distill({**QUICK, "precision": precision}).apply(student, context)

    assert context.notes["loss_after"] < 0.35 * context.notes["loss_before"]


def test_a_planning_student_is_trained_and_has_the_teachers_second_output(tmp_path: Path) -> None:
    model, context = model_and_context(write_planner(tmp_path / "m"), tmp_path / "s")

    def images() -> Iterator[Frame]:
        rng = np.random.default_rng(0)
        for index in range(IMAGES):
            left, right = rng.integers(0, 256, 2)
            image = np.zeros((32, 32, 3), np.uint8)
            image[:, :16], image[:, 16:] = left, right
            yield Frame(image, "BGR", index)

    context = replace(context, images=images, frames=IMAGES)
    student = ReplaceWithStudent({"encoder": "squeezenet", "width": 0.5}).apply(model, context)
    Distill({**QUICK, "epochs": 12}).apply(student, context)

    assert [value.name for value in student.graph.output] == ["steering", "collision"]
    assert context.notes["loss_after"] < 0.35 * context.notes["loss_before"]


def as_earlier_version(checkpoint: Path) -> None:
    """Give a checkpoint the names of files and keys that it had before they were renamed."""
    renamed_files = ["weights.safetensors", "optimiser.pt"]
    renamed = {"val_losses": "judgements", "val_fraction": "hold_out"}
    stored = json.loads((checkpoint / "state.json").read_text())
    stored["epochs"] = len(stored["history"]["losses"])
    del stored["steps"]
    for old, new in zip(renamed_files, stored.pop("files"), strict=True):
        (checkpoint / new).rename(checkpoint / old)
    text = json.dumps(stored)
    for new, old in renamed.items():
        text = text.replace(new, old)
    (checkpoint / "state.json").write_text(text)


@pytest.mark.parametrize("earlier", [False, True])
def test_a_resumed_student_has_the_same_running_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: bool
) -> None:
    """Running means are in the checkpoint: the resumed student equals the uninterrupted one bit for bit."""
    from ad_compressed_perception.training.trainer import Trainer

    options = {**QUICK, "epochs": 4}
    student, context = fresh_student(tmp_path / "one")
    whole = weights(Distill(options).apply(student, context))
    student, context = fresh_student(tmp_path / "two")
    epoch, calls = Trainer._round, []

    def interrupted(self: Trainer, *arguments: Any) -> float:
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return epoch(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_round", interrupted)
        with pytest.raises(KeyboardInterrupt):
            Distill(options).apply(student, context)
    (state,) = (tmp_path / "two").rglob("state.json")
    if earlier:
        as_earlier_version(state.parent)
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_round", lambda *arguments: calls.append(None) or epoch(*arguments))
        resumed = weights(Distill(options).apply(student, context))

    assert len(calls) == 2, "epochs after the interruption: 4 less the 2 in the checkpoint"
    assert any(key.startswith("norm_") and key.endswith(".mean") for key in whole)
    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)


@pytest.mark.parametrize("killed_at", ["weights", "optimizer", "state.json"])
def test_a_kill_between_two_files_of_a_checkpoint_costs_no_more_than_its_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    """Weights of round 3 with the steps of round 2 would repeat round 3: the result would differ silently."""
    from ad_compressed_perception.workspace import atomic_file

    options = {**QUICK, "epochs": 4}
    student, context = fresh_student(tmp_path / "one")
    whole = weights(Distill(options).apply(student, context))
    student, context = fresh_student(tmp_path / "two")
    replace_file, saved = atomic_file.os.replace, []

    def killed(part: Path, path: Path) -> None:
        saved.append(path)
        if len([one for one in saved if one.name.startswith(killed_at)]) == 3:
            raise KeyboardInterrupt
        replace_file(part, path)

    with monkeypatch.context() as patch:
        patch.setattr(atomic_file.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            Distill(options).apply(student, context)
    resumed = weights(Distill(options).apply(student, context))

    for name, value in whole.items():
        np.testing.assert_array_equal(resumed[name], value)
    (state,) = (tmp_path / "two").rglob("state.json")
    assert len(list(state.parent.iterdir())) == 3, "files of other rounds are removed"


@pytest.mark.parametrize("damaged", ["state.json", "weights", "optimizer"])
def test_a_damaged_checkpoint_is_named_with_the_way_out(tmp_path: Path, damaged: str) -> None:
    """A power failure can leave files of the right name without their content."""
    from ad_compressed_perception.training.trainer import Schedule, Trainer, TrainingDataset

    class Constant(TrainingDataset):
        device = torch.device("cpu")

        def loss(self, module: GraphModule, step: int) -> Any:
            return sum(parameter.square().sum() for parameter in module.parameters())

    schedule = Schedule(steps=2, round_steps=1, learning_rate=1e-3, weight_decay=0.0)
    folder = tmp_path / "checkpoint"
    Trainer(GraphModule(normalizing_graph()), Constant(), schedule, folder).train()
    (file,) = folder.glob(f"{damaged}*")
    file.write_bytes(file.read_bytes()[:20])

    with pytest.raises(RecipeError, match="checkpoint in .* cannot be read .*: remove that folder"):
        Trainer(GraphModule(normalizing_graph()), Constant(), schedule, folder).train()


def test_quantized_weights_are_not_trained_in_bfloat16(tmp_path: Path) -> None:
    """bfloat16's eight bits of mantissa would round before the quantization grid does."""
    student, context = fresh_student(tmp_path)
    quantized = QuantizeInt8().apply(Simplify().apply(student, context), context)

    with pytest.raises(RecipeError, match="precision: fp32"):
        Qat({**QUICK, "precision": "bf16"}).apply(quantized, context)


def test_a_recipe_with_a_student_stores_its_input_and_output_in_the_manifest(tmp_path: Path) -> None:
    folder = write_segmenter(tmp_path / "m")
    passes = [
        "upgrade_opset",
        {"replace_with_student": SMALL},
        {"distill": QUICK},
        "simplify",
        "infer_shapes",
    ]

    result = compress_model(
        load_manifest(folder),
        small_recipe(tmp_path, passes=passes, calibration={"frames": 24}, accept={"max_drop": 0.6}),
        str(write_images(tmp_path / "images", 60)),
        work=tmp_path / "work",
    )

    stored = load_manifest(tmp_path / "work" / result.manifest.name).variant("small")
    assert stored.input is not None and (stored.input.width, stored.input.height) == (64, 32)
    assert stored.output is not None and stored.output.options["output"] == "scores"


def probabilities(*rows: tuple[float, ...]) -> np.ndarray:
    """Return (1, labels, 4, 8) outputs, equal at every pixel."""
    return np.broadcast_to(np.array(rows[0], np.float32)[None, :, None, None], (1, len(rows[0]), 4, 8))


def test_masks_correct_probabilities_and_keep_the_ratio_within_a_class() -> None:
    """Class 0 joins the first two labels, 3 to 1 in the teacher's output; the weight is 0.5."""
    correct = mask_correction(np.array([0, 0, 1]), "NCHW", 0.5)
    ground_truth = np.zeros((4, 8), np.uint8)
    ground_truth[:, 4:] = 1
    ground_truth[0] = 255

    (mixed,) = correct([probabilities((0.6, 0.2, 0.2))], ground_truth, identity_augmentation(4, 8), PLAIN)

    np.testing.assert_allclose(
        mixed[0, :, 2, 1], [0.5 * 0.6 + 0.5 * 0.75, 0.5 * 0.2 + 0.5 * 0.25, 0.1], rtol=1e-5
    )
    np.testing.assert_allclose(mixed[0, :, 2, 6], [0.3, 0.1, 0.6], rtol=1e-5)
    np.testing.assert_allclose(mixed[0, :, 0, 1], [0.6, 0.2, 0.2], rtol=1e-5)  # unlabeled: the teacher's
    np.testing.assert_allclose(mixed.sum(1), 1.0, rtol=1e-5)
    (whole,) = mask_correction(np.array([0, 0, 1]), "NCHW", 1.0)(
        [probabilities((0.0, 0.0, 1.0))], ground_truth, identity_augmentation(4, 8), PLAIN
    )  # of labels that the teacher rules out each gets as much
    np.testing.assert_allclose(whole[0, :, 2, 1], [0.5, 0.5, 0.0], atol=1e-5)


def test_masks_are_transformed_into_a_letterbox() -> None:
    """A mirrored mask in the upper half of the input; the padding below is unlabeled."""
    correct = mask_correction(np.array([0, 1]), "NCHW", 1.0)
    ground_truth = np.zeros((4, 16), np.uint8)
    ground_truth[:, 12:] = 1
    geometry = Geometry(16, 4, 8, 2, 0, 0, 8, 4)

    (mixed,) = correct(
        [probabilities((0.5, 0.5))], ground_truth, Augmentation(0, 0, 4, 16, mirrored=True), geometry
    )

    np.testing.assert_allclose(mixed[0, 1, 0], [1, 1, 0, 0, 0, 0, 0, 0], atol=1e-5)
    np.testing.assert_allclose(mixed[0, 1, 3], 0.5)


def test_the_drivers_angle_is_used_for_the_unaltered_image_only() -> None:
    """In the model's unit of half a radian; the collision probability stays the teacher's."""
    correct = steering_correction(0.5, 0.25)
    outputs = [np.array([[0.4]], np.float32), np.array([[0.9]], np.float32)]

    steering, collision = correct(outputs, 0.1, identity_augmentation(4, 8), PLAIN)
    augmented = correct(outputs, 0.1, Augmentation(0, 0, 4, 8, mirrored=True), PLAIN)

    assert steering.item() == pytest.approx(0.75 * 0.4 + 0.25 * 0.2)
    assert collision.item() == pytest.approx(0.9)
    assert augmented[0].item() == pytest.approx(0.4)


def test_boxes_raise_scores_of_objects_and_lower_false_positives() -> None:
    """Two cells of stride 8 fire: one on a true box, one beside it; a second true box was missed."""
    rows = np.zeros((1, 32 + 8 + 2, 5 + 2), np.float32)
    rows[0, :, 2:4] = np.log(0.1)  # empty boxes elsewhere
    rows[0, 9] = [0.5, 0.5, 0.0, 0.0, 0.6, 0.3, 0.5]  # cell (1, 1): box 8..16
    rows[0, 22] = [0.5, 0.5, 0.0, 0.0, 0.8, 0.9, 0.1]  # cell (6, 2): box 48..56, 16..24
    ground_truth = GroundTruthBoxes(
        np.array([[8.0, 8.0, 16.0, 16.0], [16.0, 0.0, 32.0, 16.0]]), np.array([0, 1]), np.zeros(2, bool)
    )
    correct = box_correction(np.array([0, 1]), [8, 16, 32], 0.5)

    (mixed,) = correct(
        [rows], ground_truth, identity_augmentation(32, 64), Geometry(64, 32, 64, 32, 0, 0, 64, 32)
    )

    np.testing.assert_allclose(mixed[0, 9], [0.5, 0.5, 0, 0, 0.8, 0.65, 0.25], atol=1e-5)
    assert mixed[0, 22, 4] == pytest.approx(0.4)
    new = mixed[0, 0:32][np.flatnonzero((mixed[0, :32, 4] > 0.4) & (mixed[0, :32, 6] > 0.4))]
    assert len(new) == 1  # of the cells around (24, 8) the nearest, with the box of 16 pixels
    np.testing.assert_allclose(np.exp(new[0, 2:4]) * 8, 16.0, rtol=1e-5)


def test_boxes_are_transformed_into_a_mirrored_crop() -> None:
    """Columns 2 to 10 of 12: a box at 3..5 is 1..3 in the crop of 8, mirrored 5..7."""
    view = Augmentation(0, 2, 4, 8, mirrored=True)

    np.testing.assert_array_equal(view.boxes(np.array([[3.0, 1.0, 5.0, 2.0]])), [[5, 1, 7, 2]])


def test_random_augmentations_stay_inside_the_image() -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((30, 40, 3), np.uint8)
    for _ in range(50):
        view = draw_augmentation(30, 40, rng)
        assert view.image(image).shape == (view.height, view.width, 3)
        assert not view.is_identity


def test_a_student_is_trained_on_labels_that_contradict_the_teacher(tmp_path: Path) -> None:
    """Masks label blue as "red" and red as "blue" or "green": with weight 1 the student follows the masks."""
    data = write_masks(tmp_path / "data", 12)
    (data / "label_map.yaml").write_text(
        "classes:\n  cold: {mask_ids: [9], labels: [blue, green]}\n  warm: {mask_ids: [4], labels: [red]}\n"
        "ignore_ids: [255]\n"
    )
    student, context = fresh_student(tmp_path)
    student = Distill({**QUICK, "labels": str(data), "label_weight": 1.0}).apply(student, context)

    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :32, 0] = 200
    image[:, 32:, 2] = 200
    tensor, _ = Preparer(context.input)(Frame(image, "BGR"))
    scores = run_model(student, {student.graph.input[0].name: tensor})["scores"][0]
    assert context.notes["images"] == IMAGES + 12
    assert np.mean(scores.argmax(0)[:, 4:12] == 3) > 0.8  # the blue half, labeled red in the masks


def test_labels_without_a_label_map_are_refused(tmp_path: Path) -> None:
    data = write_masks(tmp_path / "data", 3, None)
    student, context = fresh_student(tmp_path)

    with pytest.raises(DataError, match="label map"):
        Distill({**QUICK, "labels": str(data)}).apply(student, context)


def test_invalid_training_options_are_named() -> None:
    with pytest.raises(RecipeError, match="label_weight"):
        Distill({"label_weight": 1.5})
    with pytest.raises(RecipeError, match="precision"):
        Distill({"precision": "fp8"})
