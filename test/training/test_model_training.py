# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the default models: losses, augmentation, resuming, initialization and export."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ad_compressed_perception.core.errors import RecipeError  # noqa: E402
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec, load_manifest  # noqa: E402
from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature  # noqa: E402
from ad_compressed_perception.driving.plan_vector import LENGTH, SPEED  # noqa: E402
from ad_compressed_perception.onnx_graph.equivalence import run_model  # noqa: E402
from ad_compressed_perception.training.default_models.augmentation import photometric_jitter, random_affine  # noqa: E402
from ad_compressed_perception.training.default_models.config import (  # noqa: E402
    RealFrames,
    Schedule,
    SyntheticFrames,
    TrainConfig,
    load_training,
)
from ad_compressed_perception.training.default_models.detection_loss import assign, box_loss, grid_cells  # noqa: E402
from ad_compressed_perception.training.default_models.detection_task import (  # noqa: E402
    DetectionTrainingTask,
    class_balanced_sampling_weights,
    head_logits,
)
from ad_compressed_perception.training.default_models.frozen_backbone_cache import FrozenBackboneCache  # noqa: E402
from ad_compressed_perception.training.default_models.initialize_from import initialize_from  # noqa: E402
from ad_compressed_perception.training.default_models.mask_loss import mask_loss  # noqa: E402
from ad_compressed_perception.training.default_models.path_loss import (  # noqa: E402
    lateral_offsets,
    mirrored,
    plan_ground_truth_loss,
)
from ad_compressed_perception.training.default_models.segmentation_task import (  # noqa: E402
    SegmentationTrainingTask,
)
from ad_compressed_perception.training.default_models.synthetic_dataset import (  # noqa: E402
    MAX_BOXES,
    SyntheticDataset,
    empty_dataset,
    open_dataset,
)
from ad_compressed_perception.training.default_models.train import (  # noqa: E402
    digest,
    export,
    fit,
    open_training_task,
    prepare_dataset,
)
from ad_compressed_perception.training.default_models.training_task import build_network, stored_image_size  # noqa: E402
from ad_compressed_perception.training.trainer import rate_at  # noqa: E402
from support.labeled import steering_images, write_csv, write_masks  # noqa: E402
from support.models import write_detector, write_segmenter  # noqa: E402

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def generator(seed: int = 0) -> Any:
    return torch.Generator().manual_seed(seed)


def tiny_config(kind: str, **schedule: Any) -> TrainConfig:
    outputs = {
        "detection": {"decoder": "yolox", "options": {"output": "boxes"}},
        "segmentation": {"decoder": "argmax", "options": {"output": "scores"}},
        "trajectory": {"decoder": "trajectory"},
    }
    labels = {"detection": ["person", "car"], "segmentation": ["background", "road"], "trajectory": []}
    return TrainConfig(
        schema="adcp-training/1",
        name=f"tiny_{kind}",
        kind=kind,
        labels=labels[kind],
        input=InputSpec(width=64, height=32, color="BGR", scale=1 / 255, resize="stretch"),
        output=OutputSpec(**outputs[kind]),
        network={"encoder": "squeezenet", "width": 0.25},
        schedule={"steps": 4, "batch": 4, **schedule},
    )


def tiny_dataset(config: TrainConfig, count: int = 8) -> SyntheticDataset:
    rng = np.random.default_rng(0)
    width, height = stored_image_size(config)
    boxes = np.full((count, MAX_BOXES, 5), -1.0, np.float32)
    boxes[:, 0] = [1, 10, 8, 40, 28]
    return SyntheticDataset(
        rng.integers(0, 255, (count, height, width, 3), np.uint8),
        boxes,
        rng.integers(0, 2, (count, height, width)).astype(np.uint8),
        rng.uniform(0, 1, (count, LENGTH)).astype(np.float32),
        (640, 360),
    )


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


def as_earlier_version(folder: Path) -> None:
    """Write a checkpoint as the one file, with the keys, that earlier versions wrote."""
    from safetensors.torch import load_file

    state = json.loads((folder / "state.json").read_text())
    stored, moments = state["files"]
    tensors = load_file(folder / stored)
    renamed = {"optimiser": "optimizer", "average": "ema_decay"}
    old_names = {new: old for old, new in renamed.items()}
    torch.save(
        {
            "steps": state["steps"],
            "schedule": {old_names.get(key, key): value for key, value in state["schedule"].items()},
            "network": {key[4:]: value for key, value in tensors.items() if key.startswith("now.")},
            "average": {key[5:]: value for key, value in tensors.items() if key.startswith("best.")},
            old_names["optimizer"]: torch.load(folder / moments, weights_only=True),
        },
        folder / "checkpoint.pt",
    )
    for name in ("state.json", stored, moments):
        (folder / name).unlink()


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("kind", ["detection", "segmentation", "trajectory"])
def test_a_resumed_training_equals_an_uninterrupted_one(tmp_path: Path, kind: str, earlier: bool) -> None:
    """Every step has its own seed, so batches do not depend on earlier steps."""
    whole = tiny_config(kind, steps=4, checkpoint_steps=2)
    one, two = build_network(whole), build_network(whole)
    dataset = tiny_dataset(whole)

    fit(one, open_training_task(whole, dataset, CPU, silent), whole.schedule, tmp_path / "one", silent)

    class StoppedError(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(two, open_training_task(whole, dataset, CPU, silent), whole.schedule, tmp_path / "two", stop)
    if earlier:
        as_earlier_version(tmp_path / "two")
    again, steps = build_network(whole), []

    def record(what: str, done: int, total: int) -> None:
        steps.append(done)

    fit(again, open_training_task(whole, dataset, CPU, silent), whole.schedule, tmp_path / "two", record)

    assert 1 not in steps, "it starts at the checkpoint of step 2"
    for key, value in one.state_dict().items():
        assert torch.allclose(value, again.state_dict()[key], atol=1e-6), key


def test_a_finished_training_is_taken_up_by_the_same_configuration_only(tmp_path: Path) -> None:
    """With other images the earlier training's weights were returned at once, with a last loss of 0."""
    config = tiny_config("segmentation", steps=2, checkpoint_steps=2)
    dataset, steps = tiny_dataset(config), list[int]()

    def trained(config: TrainConfig) -> dict[str, Any]:
        steps.clear()
        task = open_training_task(config, dataset, CPU, silent)
        return fit(
            build_network(config), task, config.schedule, tmp_path / "checkpoint",
            lambda what, done, total: steps.append(done), digest(config, tmp_path / "images"),
        )  # fmt: skip

    first = trained(config)
    again = trained(config)

    assert 1 not in steps, "it has all steps already"
    assert again["last_loss"] == first["last_loss"] > 0.0
    trained(config.model_copy(update={"stop_weight": 0.1}))
    assert 1 in steps


def test_a_network_is_initialized_from_the_encoder_of_a_trained_one(tmp_path: Path) -> None:
    """Frozen layers initialized from folded weights have the same outputs as the trained detector's."""
    detector = tiny_config("detection")
    trained = build_network(detector)
    with torch.no_grad():
        for number, norm in enumerate(trained.norms.values()):
            norm.running_mean.add_(0.1 * (number % 3))
            norm.running_var.mul_(1.5)
    export(detector, trained, tmp_path / "detector", {})
    planner = build_network(tiny_config("trajectory"))

    copied = initialize_from(planner, str(tmp_path / "detector"), 4)

    front = FrozenBackboneCache(planner)
    x = torch.rand(1, 3, 32, 64)
    features = front.front(x)
    # The tensor has the same name in the detector's graph: both encoders are built by the same calls.
    (expected,) = trained.run({"image": x}, [front.tensor])
    assert copied > 3
    assert torch.allclose(features, expected, atol=1e-4)
    assert torch.allclose(front.rest(features), planner(x)[0], atol=1e-5)
    assert not front.front(x).requires_grad


@pytest.mark.parametrize("kind", ["detection", "segmentation", "trajectory"])
def test_fine_tuning_starts_with_the_outputs_of_the_trained_model(tmp_path: Path, kind: str) -> None:
    """Also in training mode: placeholder normalizations take mean and variance of the first batch.

    The second batch is then normalized by its own mean and variance, as in any training.
    """
    config = tiny_config(kind)
    trained = build_network(config)
    with torch.no_grad():
        for number, norm in enumerate(trained.norms.values()):
            norm.running_mean.add_(0.1 * (number % 3))
            norm.running_var.mul_(1.5)
            norm.weight.mul_(0.7)
    export(config, trained.eval(), tmp_path / "m", {})
    finetuned = build_network(config.model_copy(update={"schedule": Schedule(seed=5)})).train()

    initialize_from(finetuned, str(tmp_path / "m"), 1)

    x = torch.rand(8, 3, 32, 64, generator=generator())
    expected = trained(x)
    for output, reference in zip(finetuned(x), expected, strict=True):
        assert torch.allclose(output, reference, atol=1e-3)
    assert not any(norm.unsettled for norm in finetuned.norms.values())
    for output, reference in zip(finetuned.eval()(x), expected, strict=True):
        assert torch.allclose(output, reference, atol=0.05)  # the running variance is the unbiased one


def test_crops_have_the_scale_of_the_exported_model(tmp_path: Path) -> None:
    """Images are stored at 128 pixels of width, and training crops are 64 wide."""
    config = tiny_config("detection", batch=64)
    config.inference_width, config.inference_height, config.random_crop = 128, 64, True
    config.scale_jitter = (1.0, 1.0)
    assert stored_image_size(config) == (128, 64)
    dataset = tiny_dataset(config)
    task = open_training_task(config, dataset, CPU, silent)

    shown, boxes, labels = task._road(generator())

    assert shown.shape == (64, 3, 32, 64)
    # The only object is 30 x 20 pixels; its visible part in a crop is no larger, and some crop has all of it.
    sides = (boxes[..., 2:] - boxes[..., :2])[labels >= 0]
    assert torch.allclose(sides.amax(0), torch.tensor([30.0, 20.0]))


def test_initialization_from_another_encoder_is_refused(tmp_path: Path) -> None:
    wide = tiny_config("detection")
    wide.network.width = 1.0
    export(wide, build_network(wide), tmp_path / "detector", {})

    with pytest.raises(RecipeError, match="the encoder of tiny_detection is another one"):
        initialize_from(build_network(tiny_config("trajectory")), str(tmp_path / "detector"), 4)


def test_training_on_cached_frozen_layer_outputs(tmp_path: Path) -> None:
    """Frozen parameters stay unchanged; the others are trained."""
    detector = tiny_config("detection")
    export(detector, build_network(detector), tmp_path / "detector", {})
    config = tiny_config("trajectory", steps=3)
    config.network.cached_augmentations = 2
    network = build_network(config)
    initialize_from(network, str(tmp_path / "detector"), 4)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}

    fit(
        network,
        open_training_task(config, tiny_dataset(config), CPU, silent),
        config.schedule,
        tmp_path,
        silent,
    )

    changed = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert frozen and not frozen & changed
    assert any("weight" in key for key in changed)


def test_a_detector_can_be_exported_at_a_larger_input_size(tmp_path: Path) -> None:
    """It is fully convolutional: an image twice as wide has twice as many cells."""
    config = tiny_config("detection")
    config.inference_width = 128

    manifest = export(config, build_network(config), tmp_path / "m", {})

    assert manifest.input.width == 128
    assert outputs_of(manifest.variant_path("baseline"), (1, 3, 32, 128))["boxes"].shape == (1, 84, 7)


def test_a_planner_cannot_be_exported_at_another_input_size(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    config.inference_width = 128

    with pytest.raises(RecipeError, match="need a fully convolutional network"):
        export(config, build_network(config), tmp_path / "m", {})


def outputs_of(path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    import onnx

    return run_model(onnx.load(str(path)), {"image": np.zeros(shape, np.float32)})


def test_the_exported_model_equals_the_trained_network(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    network = build_network(config)

    manifest = export(config, network, tmp_path / "m", {"steps": 0})

    from ad_compressed_perception.image.decode import Frame
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    pipeline = open_pipeline(manifest)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    feeds, _ = pipeline.task.prepare(Frame(pixels, "BGR"))
    plan = pipeline.session.infer(feeds)["plan"]
    with torch.no_grad():
        expected = network(torch.from_numpy(next(iter(feeds.values())).copy()))[0].numpy()
    pipeline.close()
    assert plan == pytest.approx(expected, abs=1e-4)


def test_a_non_finite_loss_raises_an_error_with_the_step(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    dataset = tiny_dataset(config)
    dataset.plans[:] = np.inf

    with pytest.raises(RecipeError, match="lower learning_rate"):
        fit(
            build_network(config), open_training_task(config, dataset, CPU, silent), Schedule(steps=2,
            batch=4), tmp_path, silent,
        )  # fmt: skip


def test_the_shipped_training_configurations_are_valid_and_share_their_images() -> None:
    trainings = [load_training(path) for path in sorted((ROOT / "config" / "training").glob("*.yaml"))]

    assert {training.name for training in trainings} == {
        "road_detection", "road_planning", "road_segmentation",
    }  # fmt: skip
    first = [t for t in trainings if t.kind != "trajectory" and t.network.initialize_from is None]
    assert len(first) == 2
    assert len({(t.synthetic.frames, t.synthetic.seed) for t in first}) == 1  # rendered once for both


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("schema: adcp-training/1\nname: x\nkind: detection\nepochs: 3\n")

    with pytest.raises(RecipeError, match="epochs"):
        load_training(path)


def test_a_training_on_real_images_alone_needs_no_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`synthetic.frames: 0`: no frame source is looked up, and every image of a batch is a real one."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("a frame source was looked up")

    monkeypatch.setattr("ad_compressed_perception.training.default_models.frame_source.find", refuse)
    folder = tmp_path / "drive"
    stamps = [index * 100_000_000 for index in range(16)]
    write_csv(folder / "steering.csv", [(stamp, 0.1 * index) for index, stamp in enumerate(stamps)])
    (folder / "images").mkdir()
    for stamp, image in zip(stamps, steering_images(16), strict=True):
        cv2.imwrite(str(folder / "images" / f"{stamp}.png"), image)
    config = tiny_config("trajectory").model_copy(
        update={"synthetic": SyntheticFrames(frames=0), "real": RealFrames(drive=str(folder), share=0.5)}
    )
    rendered = prepare_dataset([config], tmp_path / "work", silent)
    dataset = open_dataset(rendered, config.kind, stored_image_size(config))
    task = open_training_task(config, dataset, CPU, silent)
    network = build_network(config)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    fit(network, task, config.schedule, tmp_path / "fit", silent)

    assert (len(dataset.images), task.road_count, task.real_count) == (0, 0, config.schedule.batch)
    assert any(not torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize(
    ("kind", "write"), [("detection", write_detector), ("segmentation", write_segmenter)]
)
def test_real_images_get_their_targets_from_a_teacher(
    tmp_path: Path, kind: str, write: Callable[[Path], Path]
) -> None:
    """Half of a batch is real. Where masks label the left half (blue) as one class, it is of that class."""
    masks = write_masks(tmp_path / "masks")
    teacher = write(tmp_path / "teacher")
    config = tiny_config(kind)
    if kind == "segmentation":
        config = config.model_copy(update={"labels": load_manifest(teacher).labels})
    real = RealFrames(
        masks=str(masks), label_map=str(masks / "label_map.yaml"), teacher=str(teacher), share=0.5
    )
    config = config.model_copy(update={"real": real})

    task = open_training_task(config, tiny_dataset(config), CPU, silent)
    loss = task.loss(build_network(config).train(), 0)

    assert (task.road_count, task.real_count) == (2, 2)
    assert bool(torch.isfinite(loss)) and loss.requires_grad
    if isinstance(task, SegmentationTrainingTask):
        shares = task._targets.batch(torch.arange(3)).float() / 255.0
        assert shares.shape == (3, 4, 32, 64)
        blue = config.labels.index("blue")
        assert float(shares[:, blue, 4:, 2:30].mean()) > 0.5
        assert torch.allclose(shares.sum(1), torch.ones(3, 32, 64), atol=0.02)


def test_nothing_to_train_on_is_refused() -> None:
    config = tiny_config("segmentation").model_copy(update={"synthetic": SyntheticFrames(frames=0)})
    with pytest.raises(RecipeError, match="nothing to train on: set synthetic.frames"):
        open_training_task(config, empty_dataset((64, 32)), CPU, silent)
