# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Models that run but mean nothing to their decoder are refused in one line; others are not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto

from ad_compressed_perception.analysis.benchmark import parse_benchmark_variant, run_benchmark
from ad_compressed_perception.analysis.evaluate import evaluate
from ad_compressed_perception.analysis.output_plausibility import check_outputs
from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.compression.search.budget import parse_budget
from ad_compressed_perception.compression.search.search import Request, search
from ad_compressed_perception.core.errors import AdcpError, DataError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, file_sha256, load_manifest
from ad_compressed_perception.data.labeled.open import open_labeled
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import small_recipe, write_images
from support.labeled import SCENES, write_boxes
from support.models import (
    SEGMENTER_LABELS,
    WRITERS,
    draw_scene,
    write_detector,
    write_segmenter,
    write_trajectory_planner,
)
from support.nonsense import MODELS, append, op

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("name", MODELS)
def test_nonsense_is_refused_at_import(tmp_path: Path, name: str) -> None:
    """Most of these were imported, and their int8 variants accepted: they agree with nonsense."""
    given = MODELS[name]
    source = given.make(tmp_path / "given")

    with pytest.raises(AdcpError) as caught:
        import_model(source, tmp_path / "made", given.request())

    text = str(caught.value)
    assert "\n" not in text and "Traceback" not in text
    assert all(words in text for words in given.named), text
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("writer", [*WRITERS.values(), write_trajectory_planner])
def test_what_means_something_is_imported(tmp_path: Path, writer: Callable[[Path], Path]) -> None:
    """The same tiny models without the appended operators."""
    model = load_manifest(writer(tmp_path / "given"))
    output, spec = model.output, model.input
    request = ImportRequest(
        model.task,
        labels=model.labels,
        decoder=output.decoder,
        decoder_options=output.options,
        input={"scale": spec.scale, "color": spec.color},
    )

    made = import_model(tmp_path / "given" / "fp32.onnx", tmp_path / "made", request)

    assert made.manifest.output.options.items() >= output.options.items()


def by_hand(name: str, folder: Path) -> Manifest:
    """Return the manifest of a nonsense model that somebody wrote without importing it."""
    given = MODELS[name]
    path = given.make(folder)
    manifest = load_manifest(folder)
    manifest.variant("fp32").sha256 = file_sha256(path)
    if given.labels is not None:
        manifest.labels = list(given.labels)
        manifest.output.options["layout"] = "LABELS"
    save_manifest(manifest, folder)
    return load_manifest(folder)


@pytest.mark.parametrize(
    "name", ["boxes decoded to 0..1", "ids beyond the labels", "a probability as label ids"]
)
def test_nonsense_in_a_manifest_written_by_hand_is_refused_at_compression(tmp_path: Path, name: str) -> None:
    """The baseline's verification frames are checked before any pass runs."""
    manifest = by_hand(name, tmp_path / "model")
    recipe = small_recipe(tmp_path / "recipe", passes=["upgrade_opset", "simplify"])
    images = write_images(tmp_path / "images", 40)

    with pytest.raises(OutputError) as caught:
        compress_model(manifest, recipe, str(images), work=tmp_path / "work")

    assert all(words in str(caught.value) for words in MODELS[name].named)
    assert str(images) in str(caught.value)
    assert not (tmp_path / "work").exists()


def test_a_search_an_evaluation_and_a_benchmark_refuse_it_too(tmp_path: Path) -> None:
    """Each of these printed figures of nonsense."""
    manifest = by_hand("boxes decoded to 0..1", tmp_path / "model")
    images = write_images(tmp_path / "images", 120)
    request = Request(str(images), parse_budget("drop<=5%"), minutes=0.5, work=tmp_path / "work")
    with pytest.raises(OutputError, match="decoded already"):
        search(manifest, request)

    labeled = open_labeled(str(write_boxes(tmp_path / "boxes", SCENES)), manifest)
    with (
        closing(open_pipeline(manifest)) as pipeline,
        pytest.raises(OutputError, match="decoded already"),
    ):
        evaluate(pipeline, labeled)

    shown = [Frame(draw_scene(index), "BGR") for index in range(4)]
    with pytest.raises(OutputError, match="decoded already"):
        run_benchmark(manifest, [parse_benchmark_variant("fp32")], frames=shown, source="s", rounds=1)


def test_import_checks_the_shownthat_it_is_given(tmp_path: Path) -> None:
    """Ids beyond the labels on blue images only, which the drawn ones are not."""
    path = write_segmenter(tmp_path / "given") / "fp32.onnx"
    nodes = [
        op("ArgMax", "before", "ids", axis=1, keepdims=1),
        op("ReduceMean", "before", "means", axes=[2, 3], keepdims=1),
        op("Mul", "means signs", "signed"),
        op("ReduceSum", "signed axis", "blueness", keepdims=1),
        op("Greater", "blueness limit", "is_blue"),
        op("Cast", "is_blue", "one_if_blue", to=TensorProto.INT64),
        op("Mul", "one_if_blue four", "added"),
        op("Add", "ids added", "scores"),
    ]
    signs = np.array([0, 1, -1, -1], np.float32).reshape(1, 4, 1, 1)
    weights = {"signs": signs, "axis": np.array([1]), "limit": np.float32(150.0), "four": np.array(4)}
    append(path, "scores", nodes, weights, [1, 1, 48, 64], TensorProto.INT64)
    for name, color in (("dark", 20), ("blue", (255, 0, 0))):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "0.png"), np.full((96, 128, 3), color, np.uint8))

    def imported(sample: str | None) -> Path:
        folder = tmp_path / f"made_from_{sample}"
        given = None if sample is None else str(tmp_path / sample)
        spec = {"color": "BGR", "scale": 1.0}
        request = ImportRequest("segmentation", labels=SEGMENTER_LABELS, input=spec, sample=given)
        return import_model(path, folder, request).manifest.folder

    assert imported(None).is_dir()
    assert imported("dark").is_dir()
    with pytest.raises(ModelFileError, match="label id 5, its manifest has 4 labels"):
        imported("blue")
    with pytest.raises(DataError, match="no such bag or folder"):
        imported("nowhere")


def frames(shared: Path) -> list[Frame]:
    """Return frames of several cameras, and what a camera gives when it is covered, blinded or broken."""
    folders = ["data/udacity_ch2/images", "data/camvid/val/images", "data/coco64/images"]
    paths = [path for folder in folders for path in sorted((shared / folder).iterdir())[::40][:6]]
    images = [image for path in paths if (image := cv2.imread(str(path))) is not None]
    rng = np.random.default_rng(0)
    images += [np.full((480, 640, 3), value, np.uint8) for value in (0, 127, 255)]
    images += [rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)]
    images += [cv2.resize(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), (640, 480))]
    return [Frame(np.asarray(image), "BGR") for image in images]


@pytest.mark.shared
@pytest.mark.parametrize(
    "folder",
    [
        *("models/road_detection", "models/road_planning", "models/road_segmentation"),
        *(
            f"config/reference_models/{name}"
            for name in ("yolox_nano", "pulp_dronet_v2", "road_segmentation_adas_0001")
        ),
    ],
)
def test_models_in_use_are_never_refused(shared_dir: Path, folder: str) -> None:
    """A false refusal on the road is a fault as well: every variant, on real and on blank frames."""
    manifest = load_manifest(REPOSITORY / folder)
    images = frames(shared_dir)
    for name in manifest.variants:
        pipeline: Pipeline = open_pipeline(manifest, name, allow_rejected=True)
        try:
            check_outputs(pipeline, images, "frames")
        finally:
            pipeline.close()


def test_low_thresholds_refuse_nothing(tmp_path: Path) -> None:
    """Average precision is measured at a threshold of 0.01, where cells without objects become boxes."""
    pipeline = open_pipeline(load_manifest(write_detector(tmp_path)))
    pipeline.task.settings = pipeline.task.parse_settings({"score_threshold": 0.0})
    result, _ = pipeline.run(Frame(draw_scene(0), "BGR"))
    assert len(result.scores) > 10  # type: ignore[union-attr]
