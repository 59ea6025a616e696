# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the default models: augmentation, targets and losses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature  # noqa: E402
from ad_compressed_perception.driving.plan_vector import LENGTH, SPEED  # noqa: E402
from ad_compressed_perception.training.default_models.augmentation import photometric_jitter, random_affine  # noqa: E402
from ad_compressed_perception.training.default_models.detection_loss import assign, box_loss, grid_cells  # noqa: E402
from ad_compressed_perception.training.default_models.detection_task import (  # noqa: E402
    DetectionTrainingTask,
    class_balanced_sampling_weights,
    head_logits,
)
from ad_compressed_perception.training.default_models.mask_loss import mask_loss  # noqa: E402
from ad_compressed_perception.training.default_models.path_loss import (  # noqa: E402
    lateral_offsets,
    mirrored,
    plan_ground_truth_loss,
)
from ad_compressed_perception.training.default_models.train import (  # noqa: E402
    open_training_task,
)
from ad_compressed_perception.training.default_models.training_task import build_network  # noqa: E402
from ad_compressed_perception.training.trainer import rate_at  # noqa: E402
from support.default_training import generator, silent, tiny_config, tiny_dataset  # noqa: E402

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def test_boxes_are_transformed_with_their_image() -> None:
    """A white rectangle stays inside its box after scaling, shifting and mirroring."""
    image = torch.zeros(16, 1, 60, 80)
    image[:, :, 20:40, 30:50] = 1.0
    box = torch.tensor([[[30.0, 20.0, 50.0, 40.0]]]).repeat(16, 1, 1)

    transform = random_affine(
        16, (80, 60), (80, 64), generator(), CPU, scale_jitter=(0.7, 1.1), mirror=True, identity_fraction=0.2
    )
    shown, moved = transform.warp(image, 0.0), transform.boxes(box)

    assert transform.is_mirrored.any() and not transform.is_mirrored.all()
    for one, (left, top, right, bottom) in zip(shown[:, 0], moved[:, 0], strict=True):
        rows, columns = (one > 0.5).nonzero(as_tuple=True)
        measured = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        for expected, found in zip((left, top, right, bottom), measured, strict=True):
            # The last pixels may be cropped by the border.
            assert abs(float(expected.clamp(0, 80)) - float(found)) <= 1.0


def test_an_image_without_jitter_lies_top_left_as_at_inference() -> None:
    image = torch.rand(1, 3, 30, 64)
    transform = random_affine(
        1, (64, 30), (64, 32), generator(), CPU, scale_jitter=(0.5, 2.0), mirror=False, identity_fraction=1.0
    )

    shown = transform.warp(image, 0.25)

    assert torch.allclose(shown[:, :, :30], image, atol=1e-5)
    assert torch.allclose(shown[:, :, 30:], torch.tensor(0.25), atol=1e-5)


def test_an_image_without_jitter_is_upscaled_to_the_inference_size() -> None:
    """The stored image has half the size that the model uses at inference."""
    transform = random_affine(
        1, (64, 30), (128, 64), generator(), CPU,
        scale_jitter=(0.5, 2.0), mirror=False, identity_fraction=1.0, upscale=2.0,
    )  # fmt: skip

    assert transform.boxes(torch.tensor([[[10.0, 5.0, 20.0, 30.0]]])).flatten().tolist() == [20, 10, 40, 60]


def test_a_crop_contains_the_object_it_is_sampled_for() -> None:
    """Wherever in the image the object is, its center lies in the crop, and the image fills the crop.

    Images without an object (NaN) are cropped anywhere: of 200 such crops, a fifth as wide, some miss it.
    """
    crop_centers = torch.rand(400, 2, generator=generator(1)) * torch.tensor([320.0, 180.0])
    crop_centers[200:] = torch.nan
    boxes = torch.cat([crop_centers, crop_centers], 1)[:, None]
    boxes[200:] = torch.tensor([160.0, 90.0, 160.0, 90.0])
    size = torch.tensor([64.0, 48.0])

    transform = random_affine(
        400, (320, 180), (64, 48), generator(), CPU,
        scale_jitter=(0.8, 1.4), mirror=True, identity_fraction=0.0, crop_centers=crop_centers,
    )  # fmt: skip

    centers = transform.boxes(boxes)[:, 0, :2]
    inside = ((centers >= -1e-3) & (centers <= size + 1e-3)).all(1)
    assert inside[:200].all() and not inside[200:].all()
    corners = transform.boxes(torch.tensor([[[0.0, 0.0, 320.0, 180.0]]]).repeat(400, 1, 1))[:, 0]
    assert (corners[:, :2] <= 1e-3).all() and (corners[:, 2:] >= size - 1e-3).all()


def test_objects_of_rare_labels_are_sampled_more_often() -> None:
    """16 cars and one stop sign: the sign has the probability of four cars, one in five."""
    probabilities = class_balanced_sampling_weights(torch.tensor([2.0] * 16 + [7.0]))

    assert float(probabilities.sum()) == pytest.approx(1.0)
    assert float(probabilities[-1]) == pytest.approx(0.2)


def test_crops_around_objects_contain_boxes_that_random_crops_miss() -> None:
    """The object is 2 px of an image 640 px wide, a crop is 64 px: few random crops contain it."""
    whole = tiny_config("detection", batch=32).model_copy(
        update={
            "inference_width": 640,
            "inference_height": 384,
            "random_crop": True,
            "scale_jitter": (0.9, 1.1),
        }
    )

    def crops_with_boxes(fraction: float) -> int:
        config = whole.model_copy(update={"object_crop_fraction": fraction})
        task = open_training_task(config, tiny_dataset(config), CPU, silent)
        assert isinstance(task, DetectionTrainingTask)
        task._boxes[..., 1:] = torch.tensor([300.0, 200.0, 318.0, 218.0])
        return int((task._road(generator())[2] >= 0).any(1).sum())

    assert crops_with_boxes(1.0) == 32
    assert crops_with_boxes(0.0) < 16


def test_photometric_jitter_stays_in_range_and_depends_on_the_seed_alone() -> None:
    image = torch.rand(4, 3, 16, 16) * 255

    one, same, other = (photometric_jitter(image, generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, same) and not torch.equal(one, other)
    assert float(one.min()) >= 0.0 and float(one.max()) <= 255.0


def test_cells_around_an_object_are_assigned_to_it_and_others_to_none() -> None:
    """A 32 px car in the center of the input; cells within it and near its center may be assigned to it."""
    cells = grid_cells(64, 64, (8, 16, 32), CPU)
    boxes = torch.tensor([[[16.0, 16.0, 48.0, 48.0], [0.0, 0.0, 0.0, 0.0]]])
    classes = torch.tensor([[1, -1]])
    raw = cells.raw(boxes[0, :1].expand(len(cells.corners), 4))[None]
    scores = torch.full((1, len(cells.corners), 2), 0.3)

    assigned = assign(cells, cells.boxes(raw), scores, boxes, classes)[0]

    center = (cells.corners + 0.5) * cells.strides
    chosen = assigned == 0
    # All predictions are perfect: their IoUs add up to ten, the maximum number of cells per object.
    assert int(chosen.sum()) == 10
    assert (assigned[~chosen] == -1).all()
    assert ((center[chosen] > 16) & (center[chosen] < 48)).all()


def test_no_cell_is_assigned_to_two_objects() -> None:
    cells = grid_cells(64, 64, (8, 16, 32), CPU)
    boxes = torch.tensor([[[8.0, 8.0, 32.0, 56.0], [24.0, 8.0, 56.0, 56.0]]])
    raw = torch.zeros(1, len(cells.corners), 4)

    assigned = assign(
        cells, cells.boxes(raw), torch.full((1, len(raw[0]), 2), 0.1), boxes, torch.tensor([[0, 1]])
    )

    assert {-1, 0, 1} == set(assigned[0].tolist())


def test_decoding_and_encoding_of_boxes_are_inverse() -> None:
    cells = grid_cells(96, 64, (8, 16, 32), CPU)
    raw = torch.randn(1, len(cells.corners), 4) * 0.4  # boxes of more than a pixel

    assert torch.allclose(cells.raw(cells.boxes(raw)), raw, atol=1e-4)


def test_the_detection_loss_of_correct_outputs_is_small() -> None:
    """Perfect boxes and confident scores: the loss is far below that of an undecided network."""
    cells = grid_cells(64, 64, (8, 16, 32), CPU)
    count = len(cells.corners)
    boxes, labels = torch.tensor([[[16.0, 16.0, 48.0, 48.0]]]), torch.tensor([[1]])
    raw = cells.raw(boxes[0].expand(count, 4))[None]
    assigned = assign(cells, cells.boxes(raw), torch.full((1, count, 2), 0.5), boxes, labels)[0]
    confident = torch.where(assigned >= 0, 12.0, -12.0)[None]
    classes = torch.stack([torch.full((1, count), -12.0), confident], -1)

    correct = box_loss(cells, raw, confident, classes, boxes, labels)
    undecided = box_loss(cells, raw * 0.0, confident * 0.0, classes * 0.0, boxes, labels)

    assert float(correct) < 0.05 < 1.0 < float(undecided)


def test_head_logits_are_the_inputs_of_the_graphs_sigmoids() -> None:
    network = build_network(tiny_config("detection"))
    x = torch.rand(2, 3, 32, 64)

    raw, objectness, classes = head_logits(network, x)

    whole = torch.cat([raw, objectness.sigmoid()[..., None], classes.sigmoid()], -1)
    assert torch.allclose(whole, network(x)[0], atol=1e-5)


def test_a_correct_mask_has_no_loss_and_unlabeled_pixels_are_ignored() -> None:
    target = torch.zeros(1, 2, 8, 8)
    target[:, 0, :, :4] = 1.0
    target[:, 1, :, 4:] = 1.0
    logits = (target - 0.5) * 40.0
    wrong = logits.clone()
    wrong[:, :, 0] = -wrong[:, :, 0]
    known = torch.ones(1, 8, 8)
    known[:, 0] = 0.0

    assert float(mask_loss(logits, target)) < 1e-3
    assert float(mask_loss(wrong, target)) > 0.3
    assert float(mask_loss(wrong, target, known)) < 1e-3


def test_lateral_offsets_match_the_exact_path_for_small_headings() -> None:
    """A curve of 400 m radius: after 40 m the offset is 2 m, within 2 cm of the exact path."""
    curvature = np.full(len(KNOTS_M), 1 / 400)

    exact, _ = path_of_curvature(curvature, KNOTS_M)

    assert lateral_offsets(torch.from_numpy(curvature)[None])[0].numpy() == pytest.approx(
        exact[:, 1], abs=0.02
    )


def test_mirroring_a_plan_negates_curvatures_and_keeps_the_speed() -> None:
    plan = torch.rand(2, LENGTH)

    both = mirrored(plan, torch.tensor([True, False]))

    assert torch.equal(both[0, :SPEED], -plan[0, :SPEED]) and torch.equal(both[0, SPEED:], plan[0, SPEED:])
    assert torch.equal(both[1], plan[1])


def test_a_correct_plan_has_no_loss() -> None:
    ground_truth = torch.rand(3, LENGTH)
    ground_truth[:, SPEED + 1 :] = 1.0
    plan = ground_truth.clone()
    plan[:, SPEED + 1 :] = 30.0

    assert (
        float(plan_ground_truth_loss(plan, ground_truth))
        < 1e-3
        < float(plan_ground_truth_loss(plan + 0.1, ground_truth))
    )


def test_the_learning_rate_warms_up_then_decays_to_a_hundredth() -> None:
    rates = [rate_at(step, 1000) for step in range(1000)]

    assert rates[49] == 1.0 == max(rates)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
