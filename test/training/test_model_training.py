# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Training of the default models: resuming, initialization, export, and what is trained on."""

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
from ad_compressed_perception.core.manifest import load_manifest  # noqa: E402
from ad_compressed_perception.onnx_graph.equivalence import run_model  # noqa: E402
from ad_compressed_perception.training.default_models.config import (  # noqa: E402
    RealFrames,
    Schedule,
    SyntheticFrames,
    TrainConfig,
    load_training,
)
from ad_compressed_perception.training.default_models.frozen_backbone_cache import FrozenBackboneCache  # noqa: E402
from ad_compressed_perception.training.default_models.initialize_from import initialize_from  # noqa: E402
from ad_compressed_perception.training.default_models.segmentation_task import (  # noqa: E402
    SegmentationTrainingTask,
)
from ad_compressed_perception.training.default_models.synthetic_dataset import (  # noqa: E402
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
from support.default_training import generator, silent, tiny_config, tiny_dataset  # noqa: E402
from support.labeled import steering_images, write_csv, write_masks  # noqa: E402
from support.models import write_detector, write_segmenter  # noqa: E402

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parents[2]


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
