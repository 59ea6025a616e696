# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of default models: what losses say of known answers, what moves with an image, and going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ad_compressed_perception.core.errors import RecipeError  # noqa: E402
from ad_compressed_perception.core.manifest import InputSpec, OutputSpec  # noqa: E402
from ad_compressed_perception.driving.path import KNOTS_M, path_of_curvature  # noqa: E402
from ad_compressed_perception.driving.plan_vector import LENGTH, SPEED  # noqa: E402
from ad_compressed_perception.metrics.iou import IGNORE  # noqa: E402
from ad_compressed_perception.onnx_graph.equivalence import run_model  # noqa: E402
from ad_compressed_perception.training.models.augmentation import photometric_jitter, place  # noqa: E402
from ad_compressed_perception.training.models.config import Schedule, TrainConfig, load_training  # noqa: E402
from ad_compressed_perception.training.models.detection_loss import assign, box_loss, lay_cells  # noqa: E402
from ad_compressed_perception.training.models.detection_task import (  # noqa: E402
    DetectionTrainingTask,
    class_balanced_sampling_weights,
    head_logits,
)
from ad_compressed_perception.training.models.fit import fit, rate_at  # noqa: E402
from ad_compressed_perception.training.models.frozen_backbone_cache import FrozenBackboneCache  # noqa: E402
from ad_compressed_perception.training.models.initialize_from import initialize_from  # noqa: E402
from ad_compressed_perception.training.models.mask_loss import mask_loss  # noqa: E402
from ad_compressed_perception.training.models.path_loss import (  # noqa: E402
    lateral_offsets,
    mirrored,
    plan_ground_truth_loss,
)
from ad_compressed_perception.training.models.real_frames import Mask, corrected  # noqa: E402
from ad_compressed_perception.training.models.synthetic_dataset import MAX_BOXES, SyntheticDataset  # noqa: E402
from ad_compressed_perception.training.models.train import export, open_training_task  # noqa: E402
from ad_compressed_perception.training.models.training_task import build_network, stored_image_size  # noqa: E402

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


def silent(what: str, done: int, total: int) -> None:
    """Tell nobody."""


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


def tiny_corpus(config: TrainConfig, count: int = 8) -> SyntheticDataset:
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


def test_a_box_moves_with_its_image() -> None:
    """A white rectangle stays where its box says, however it was zoomed, shifted and mirrored."""
    image = torch.zeros(16, 1, 60, 80)
    image[:, :, 20:40, 30:50] = 1.0
    box = torch.tensor([[[30.0, 20.0, 50.0, 40.0]]]).repeat(16, 1, 1)

    placement = place(16, (80, 60), (80, 64), generator(), CPU, zoom=(0.7, 1.1), mirror=True, stay=0.2)
    shown, moved = placement.warp(image, 0.0), placement.boxes(box)

    assert placement.is_mirrored.any() and not placement.is_mirrored.all()
    for one, (left, top, right, bottom) in zip(shown[:, 0], moved[:, 0], strict=True):
        rows, columns = (one > 0.5).nonzero(as_tuple=True)
        seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        for wanted, found in zip((left, top, right, bottom), seen, strict=True):
            # The last pixels may be cut off by the border.
            assert abs(float(wanted.clamp(0, 80)) - float(found)) <= 1.0


def test_a_image_that_stays_lies_top_left_as_in_use() -> None:
    image = torch.rand(1, 3, 30, 64)
    placement = place(1, (64, 30), (64, 32), generator(), CPU, zoom=(0.5, 2.0), mirror=False, stay=1.0)

    shown = placement.warp(image, 0.25)

    assert torch.allclose(shown[:, :, :30], image, atol=1e-5)
    assert torch.allclose(shown[:, :, 30:], torch.tensor(0.25), atol=1e-5)


def test_a_image_that_stays_is_enlarged_as_in_use() -> None:
    """An image of half the size that the model uses stands for the whole one."""
    placement = place(
        1, (64, 30), (128, 64), generator(), CPU, zoom=(0.5, 2.0), mirror=False, stay=1.0, enlarged=2.0
    )

    assert placement.boxes(torch.tensor([[[10.0, 5.0, 20.0, 30.0]]])).flatten().tolist() == [20, 10, 40, 60]


def test_a_piece_shows_the_object_it_is_drawn_for() -> None:
    """Wherever in the image the object is, its middle lies in the piece, and the image fills the piece.

    Images without an object (NaN) are cut anywhere: of 200 such pieces, a fifth as wide, some miss it.
    """
    towards = torch.rand(400, 2, generator=generator(1)) * torch.tensor([320.0, 180.0])
    towards[200:] = torch.nan
    boxes = torch.cat([towards, towards], 1)[:, None]
    boxes[200:] = torch.tensor([160.0, 90.0, 160.0, 90.0])
    size = torch.tensor([64.0, 48.0])

    placement = place(
        400, (320, 180), (64, 48), generator(), CPU, zoom=(0.8, 1.4), mirror=True, stay=0.0, towards=towards
    )

    middles = placement.boxes(boxes)[:, 0, :2]
    inside = ((middles >= -1e-3) & (middles <= size + 1e-3)).all(1)
    assert inside[:200].all() and not inside[200:].all()
    corners = placement.boxes(torch.tensor([[[0.0, 0.0, 320.0, 180.0]]]).repeat(400, 1, 1))[:, 0]
    assert (corners[:, :2] <= 1e-3).all() and (corners[:, 2:] >= size - 1e-3).all()


def test_an_object_of_a_rare_label_is_drawn_more_often() -> None:
    """16 cars and one stop sign: the sign is drawn as often as four cars, so one time in five."""
    chances = class_balanced_sampling_weights(torch.tensor([2.0] * 16 + [7.0]))

    assert float(chances.sum()) == pytest.approx(1.0)
    assert float(chances[-1]) == pytest.approx(0.2)


def test_aimed_pieces_hold_the_boxes_that_others_may_miss() -> None:
    """The object is 2 px of an image 640 px wide, a piece is 64 px: by chance hardly one piece shows it."""
    whole = tiny_config("detection", batch=32).model_copy(
        update={
            "inference_width": 640,
            "inference_height": 384,
            "random_crop": True,
            "scale_jitter": (0.9, 1.1),
        }
    )

    def shown(aim: float) -> int:
        config = whole.model_copy(update={"object_crop_fraction": aim})
        course = open_training_task(config, tiny_corpus(config), CPU, silent)
        assert isinstance(course, DetectionTrainingTask)
        course._boxes[..., 1:] = torch.tensor([300.0, 200.0, 318.0, 218.0])
        return int((course._road(generator())[2] >= 0).any(1).sum())

    assert shown(1.0) == 32
    assert shown(0.0) < 16


def test_light_changes_pixels_within_their_range_and_by_the_seed_alone() -> None:
    image = torch.rand(4, 3, 16, 16) * 255

    one, same, other = (photometric_jitter(image, generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(one, same) and not torch.equal(one, other)
    assert float(one.min()) >= 0.0 and float(one.max()) <= 255.0


def test_the_object_takes_the_cells_around_it_and_an_empty_place_none() -> None:
    """A 32 px car in the middle of the input; cells within it and near its middle may answer for it."""
    cells = lay_cells(64, 64, (8, 16, 32), CPU)
    boxes = torch.tensor([[[16.0, 16.0, 48.0, 48.0], [0.0, 0.0, 0.0, 0.0]]])
    classes = torch.tensor([[1, -1]])
    raw = cells.raw(boxes[0, :1].expand(len(cells.corners), 4))[None]
    scores = torch.full((1, len(cells.corners), 2), 0.3)

    owner = assign(cells, cells.boxes(raw), scores, boxes, classes)[0]

    middle = (cells.corners + 0.5) * cells.strides
    chosen = owner == 0
    # All predictions are perfect: their overlaps add up to ten, the most that one object takes.
    assert int(chosen.sum()) == 10
    assert (owner[~chosen] == -1).all()
    assert ((middle[chosen] > 16) & (middle[chosen] < 48)).all()


def test_two_objects_do_not_share_a_cell() -> None:
    cells = lay_cells(64, 64, (8, 16, 32), CPU)
    boxes = torch.tensor([[[8.0, 8.0, 32.0, 56.0], [24.0, 8.0, 56.0, 56.0]]])
    raw = torch.zeros(1, len(cells.corners), 4)

    owner = assign(
        cells, cells.boxes(raw), torch.full((1, len(raw[0]), 2), 0.1), boxes, torch.tensor([[0, 1]])
    )

    assert {-1, 0, 1} == set(owner[0].tolist())


def test_boxes_and_raw_numbers_are_inverse() -> None:
    cells = lay_cells(96, 64, (8, 16, 32), CPU)
    raw = torch.randn(1, len(cells.corners), 4) * 0.4  # boxes of more than a pixel

    assert torch.allclose(cells.raw(cells.boxes(raw)), raw, atol=1e-4)


def test_the_detectors_loss_falls_when_it_is_right() -> None:
    """Perfect boxes, sure scores: what is left is far below the loss of an undecided network."""
    cells = lay_cells(64, 64, (8, 16, 32), CPU)
    count = len(cells.corners)
    boxes, labels = torch.tensor([[[16.0, 16.0, 48.0, 48.0]]]), torch.tensor([[1]])
    raw = cells.raw(boxes[0].expand(count, 4))[None]
    owner = assign(cells, cells.boxes(raw), torch.full((1, count, 2), 0.5), boxes, labels)[0]
    sure = torch.where(owner >= 0, 12.0, -12.0)[None]
    classes = torch.stack([torch.full((1, count), -12.0), sure], -1)

    right = box_loss(cells, raw, sure, classes, boxes, labels)
    undecided = box_loss(cells, raw * 0.0, sure * 0.0, classes * 0.0, boxes, labels)

    assert float(right) < 0.05 < 1.0 < float(undecided)


def test_the_heads_logits_are_what_the_graph_puts_through_its_sigmoids() -> None:
    network = build_network(tiny_config("detection"))
    x = torch.rand(2, 3, 32, 64)

    raw, objectness, classes = head_logits(network, x)

    whole = torch.cat([raw, objectness.sigmoid()[..., None], classes.sigmoid()], -1)
    assert torch.allclose(whole, network(x)[0], atol=1e-5)


def test_a_right_mask_costs_nothing_and_an_unknown_pixel_does_not_count() -> None:
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


def test_offsets_of_curvatures_are_those_of_the_path_for_small_headings() -> None:
    """A bend of 400 m radius: after 40 m 2 m aside, to a centimeter as the exact path has it."""
    curvature = np.full(len(KNOTS_M), 1 / 400)

    exact, _ = path_of_curvature(curvature, KNOTS_M)

    assert lateral_offsets(torch.from_numpy(curvature)[None])[0].numpy() == pytest.approx(
        exact[:, 1], abs=0.02
    )


def test_a_mirrored_plan_bends_the_other_way_at_the_same_speed() -> None:
    plan = torch.rand(2, LENGTH)

    both = mirrored(plan, torch.tensor([True, False]))

    assert torch.equal(both[0, :SPEED], -plan[0, :SPEED]) and torch.equal(both[0, SPEED:], plan[0, SPEED:])
    assert torch.equal(both[1], plan[1])


def test_a_right_plan_costs_nothing() -> None:
    ground_truth = torch.rand(3, LENGTH)
    ground_truth[:, SPEED + 1 :] = 1.0
    said = ground_truth.clone()
    said[:, SPEED + 1 :] = 30.0

    assert (
        float(plan_ground_truth_loss(said, ground_truth))
        < 1e-3
        < float(plan_ground_truth_loss(said + 0.1, ground_truth))
    )


def test_a_true_mask_leaves_the_teacher_only_the_labels_of_the_true_class() -> None:
    """Labels road and marking are one class of the mask: within it the teacher's word stands."""
    teacher = np.array([0.5, 0.3, 0.2], np.float32).reshape(3, 1, 1).repeat(3, axis=2)
    mask = Mask(np.array([[0, 1, IGNORE]], np.uint8), np.array([1, 0, 0]))

    believed = corrected(teacher, mask)

    assert believed[:, 0, 0] == pytest.approx([0.0, 0.6, 0.4], abs=2e-3)
    assert believed[:, 0, 1] == pytest.approx([1.0, 0.0, 0.0])
    assert believed[:, 0, 2] == pytest.approx([0.5, 0.3, 0.2])


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [rate_at(step, 1000) for step in range(1000)]

    assert rates[49] == 1.0 == max(rates)
    assert rates[0] == pytest.approx(0.02)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)


@pytest.mark.parametrize("kind", ["detection", "segmentation", "trajectory"])
def test_an_interrupted_training_ends_where_an_uninterrupted_one_does(tmp_path: Path, kind: str) -> None:
    """Every step draws by its own number, so what was drawn before does not matter."""
    whole = tiny_config(kind, steps=4, checkpoint_steps=2)
    one, two = build_network(whole), build_network(whole)
    corpus = tiny_corpus(whole)

    fit(one, open_training_task(whole, corpus, CPU, silent), whole.schedule, tmp_path / "one", silent)

    class Stopped(Exception):
        pass

    def stop(what: str, done: int, total: int) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        fit(two, open_training_task(whole, corpus, CPU, silent), whole.schedule, tmp_path / "two", stop)
    again = build_network(whole)
    fit(again, open_training_task(whole, corpus, CPU, silent), whole.schedule, tmp_path / "two", silent)

    for key, value in one.state_dict().items():
        assert torch.allclose(value, again.state_dict()[key], atol=1e-6), key


def test_a_network_begins_with_the_encoder_of_a_finished_one(tmp_path: Path) -> None:
    """Folded and taken over, the frozen layers say of an image what the finished detector's say."""
    detector = tiny_config("detection")
    taught = build_network(detector)
    with torch.no_grad():
        for number, norm in enumerate(taught.norms.values()):
            norm.running_mean.add_(0.1 * (number % 3))
            norm.running_var.mul_(1.5)
    export(detector, taught, tmp_path / "detector", {})
    planner = build_network(tiny_config("trajectory"))

    taken = initialize_from(planner, str(tmp_path / "detector"), 4)

    front = FrozenBackboneCache(planner)
    x = torch.rand(1, 3, 32, 64)
    said = front.front(x)
    # The same place of the detector's graph: both encoders are built by the same calls.
    (wanted,) = taught.run({"image": x}, [front.tensor])
    assert taken > 3
    assert torch.allclose(said, wanted, atol=1e-4)
    assert torch.allclose(front.rest(said), planner(x)[0], atol=1e-5)
    assert not front.front(x).requires_grad


@pytest.mark.parametrize("kind", ["detection", "segmentation", "trajectory"])
def test_a_training_that_goes_on_begins_with_what_the_model_said(tmp_path: Path, kind: str) -> None:
    """Also while it learns: normalizations made up for folded convolutions take what the first batch has.

    The second batch is then normalized by its own mean and variance, as in any training.
    """
    config = tiny_config(kind)
    taught = build_network(config)
    with torch.no_grad():
        for number, norm in enumerate(taught.norms.values()):
            norm.running_mean.add_(0.1 * (number % 3))
            norm.running_var.mul_(1.5)
            norm.weight.mul_(0.7)
    export(config, taught.eval(), tmp_path / "m", {})
    going_on = build_network(config.model_copy(update={"schedule": Schedule(seed=5)})).train()

    initialize_from(going_on, str(tmp_path / "m"), 1)

    x = torch.rand(8, 3, 32, 64, generator=generator())
    wanted = taught(x)
    for said, want in zip(going_on(x), wanted, strict=True):
        assert torch.allclose(said, want, atol=1e-3)
    assert not any(norm.unsettled for norm in going_on.norms.values())
    for said, want in zip(going_on.eval()(x), wanted, strict=True):
        assert torch.allclose(said, want, atol=0.05)  # the stored variance of a batch is the unbiased one


def test_pieces_have_the_scale_of_the_finished_model(tmp_path: Path) -> None:
    """Images are kept at 128 pixels of width, and the network learns parts of 64."""
    config = tiny_config("detection", batch=64)
    config.inference_width, config.inference_height, config.random_crop = 128, 64, True
    config.scale_jitter = (1.0, 1.0)
    assert stored_image_size(config) == (128, 64)
    corpus = tiny_corpus(config)
    course = open_training_task(config, corpus, CPU, silent)

    shown, boxes, labels = course._road(generator())

    assert shown.shape == (64, 3, 32, 64)
    # The only object is 30 x 20 pixels; what is left of it in a piece is no larger and some piece has it all.
    sides = (boxes[..., 2:] - boxes[..., :2])[labels >= 0]
    assert torch.allclose(sides.amax(0), torch.tensor([30.0, 20.0]))


def test_an_encoder_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    wide = tiny_config("detection")
    wide.network.width = 1.0
    export(wide, build_network(wide), tmp_path / "detector", {})

    with pytest.raises(RecipeError, match="the encoder of tiny_detection is another one"):
        initialize_from(build_network(tiny_config("trajectory")), str(tmp_path / "detector"), 4)


def test_kept_answers_of_frozen_layers_teach_as_well(tmp_path: Path) -> None:
    """Nothing frozen moves, what follows does."""
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
        open_training_task(config, tiny_corpus(config), CPU, silent),
        config.schedule,
        tmp_path,
        silent,
    )

    moved = {key for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert frozen and not frozen & moved
    assert any("weight" in key for key in moved)


def test_a_finished_detector_may_see_more_than_it_learned_from(tmp_path: Path) -> None:
    """Convolutions do not mind: the cells of an image twice as wide are twice as many."""
    config = tiny_config("detection")
    config.inference_width = 128

    manifest = export(config, build_network(config), tmp_path / "m", {})

    assert manifest.input.width == 128
    assert outputs_of(manifest.variant_path("baseline"), (1, 3, 32, 128))["boxes"].shape == (1, 84, 7)


def test_a_planner_is_used_at_the_size_it_learned_from(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    config.inference_width = 128

    with pytest.raises(RecipeError, match="need a network of convolutions alone"):
        export(config, build_network(config), tmp_path / "m", {})


def outputs_of(path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    import onnx

    return run_model(onnx.load(str(path)), {"image": np.zeros(shape, np.float32)})


def test_what_was_learned_is_what_the_model_folder_holds(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    network = build_network(config)

    manifest = export(config, network, tmp_path / "m", {"steps": 0})

    from ad_compressed_perception.image.decode import Frame
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    pipeline = open_pipeline(manifest)
    pixels = np.random.default_rng(0).integers(0, 255, (32, 64, 3), np.uint8)
    feeds, _ = pipeline.task.prepare(Frame(pixels, "BGR"))
    said = pipeline.session.infer(feeds)["plan"]
    with torch.no_grad():
        wanted = network(torch.from_numpy(next(iter(feeds.values())).copy()))[0].numpy()
    pipeline.close()
    assert said == pytest.approx(wanted, abs=1e-4)


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(tmp_path: Path) -> None:
    config = tiny_config("trajectory")
    corpus = tiny_corpus(config)
    corpus.plans[:] = np.inf

    with pytest.raises(RecipeError, match="lower schedule.learning_rate"):
        fit(
            build_network(config), open_training_task(config, corpus, CPU, silent), Schedule(steps=2, batch=4),
            tmp_path, silent,
        )  # fmt: skip


def test_the_shipped_trainings_are_valid_and_share_their_images() -> None:
    trainings = [load_training(path) for path in sorted((ROOT / "config" / "training").glob("*.yaml"))]

    assert {training.name for training in trainings} == {
        "road_detection", "road_planning", "road_segmentation",
    }  # fmt: skip
    first = [t for t in trainings if t.kind != "trajectory" and t.network.initialize_from is None]
    assert len(first) == 2
    assert len({(t.synthetic.frames, t.synthetic.seed) for t in first}) == 1  # rendered once for both


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("schema: adcp-training/1\nname: x\nkind: detection\nepochs: 3\n")

    with pytest.raises(RecipeError, match="epochs"):
        load_training(path)
