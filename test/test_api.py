# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The package from Python: ``import ad_compressed_perception as adcp``."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ad_compressed_perception as adcp
from ad_compressed_perception import api
from ad_compressed_perception.compression.verification.labeled_check import LabeledChoice
from ad_compressed_perception.compression.verification.outcome import CompressionResult
from ad_compressed_perception.core.errors import ImageError
from ad_compressed_perception.core.resources import models_folder
from support.compression import small_recipe, write_images
from support.labeled import write_masks
from support.models import draw_scene, write_detector, write_planner, write_segmenter

REPOSITORY = Path(__file__).parents[1]
NAMES = {
    *(
        "AdcpError",
        "Classification",
        "Detections",
        "Evaluation",
        "HeadResults",
        "LabelMask",
        "Model",
        "RawOutputs",
    ),
    *("Result", "Trajectory", "compare", "compress", "evaluate", "load"),
}


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(error.value)
    assert text and "\n" not in text
    return text


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_segmenter(tmp_path_factory.mktemp("segmenter"))


def test_importing_the_package_imports_no_library() -> None:
    """Each would cost a node's start, and a runtime must not be there before its telemetry is off."""
    code = "import sys, ad_compressed_perception as a; dir(a); print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=REPOSITORY).split()
    roots = {name.partition(".")[0] for name in printed}
    heavy = (
        "cv2",
        "matplotlib",
        "numpy",
        "onnx",
        "onnxruntime",
        "openvino",
        "pydantic",
        "rclpy",
        "typer",
        "yaml",
    )
    assert not roots & set(heavy)
    own = {name for name in printed if name.startswith("ad_compressed_perception.")}
    assert own <= {f"ad_compressed_perception.core{name}" for name in ("", ".telemetry")}


def test_the_names_are_there_for_people_and_for_type_checkers() -> None:
    assert set(dir(adcp)) >= NAMES
    assert set(api.__all__) == NAMES
    stub = (REPOSITORY / "ad_compressed_perception" / "__init__.pyi").read_text("utf-8")
    assert {line.split(" as ")[1] for line in stub.splitlines() if " as " in line} == NAMES
    assert (REPOSITORY / "ad_compressed_perception" / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = adcp.lode


@pytest.mark.parametrize(
    ("name", "kind"),
    [("road_detection", "Detections"), ("road_segmentation", "LabelMask"), ("road_planning", "Trajectory")],
)
def test_a_shipped_model_runs_from_any_folder(
    name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the path in a checkout, and by the same words where the checkout is elsewhere."""
    if models_folder() is None:
        pytest.skip("the package came without the default models")
    monkeypatch.chdir(tmp_path)
    with adcp.load(f"models/{name}", variant="accepted") as model, adcp.load(name) as baseline:
        assert (model.name, model.variant != baseline.variant) == (name, True)
        image = np.full((288, 512, 3), 90, np.uint8)
        result, stages_ms = model.timed(image)
        assert type(result).__name__ == kind
        assert set(stages_ms) == {"prepare", "infer", "post"}
        assert f"{name}/{model.variant}" in repr(model)
    with pytest.raises(adcp.AdcpError, match="no model at"):
        adcp.load(tmp_path / "models" / name)  # a full path means that place and no other


@pytest.mark.parametrize(
    "encoding", ["bgr8", "rgb8", "bgra8", "rgba8", "bgr16", "big endian", "nv12", "crop", "mirrored"]
)
def test_the_same_image_in_any_encoding_gives_the_same_mask(segmenter: Path, encoding: str) -> None:
    """The tiny segmenter's labels are colors: swapped channels would swap road and car."""
    image = draw_scene(2)
    given: Any = {
        "bgr8": image,
        "rgb8": image[:, :, ::-1],  # of negative stride, as a view that swaps channels is
        "bgra8": cv2.cvtColor(image, cv2.COLOR_BGR2BGRA),
        "rgba8": cv2.cvtColor(image, cv2.COLOR_BGR2RGBA),
        "bgr16": image.astype(np.uint16) * 257,
        "big endian": (image.astype(np.uint16) * 257).astype(">u2"),
        "crop": np.pad(image, ((3, 5), (7, 2), (0, 0)))[3:-5, 7:-2],
        "mirrored": np.ascontiguousarray(image[:, ::-1])[:, ::-1],
    }.get(encoding)
    if encoding == "nv12":
        planes = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
        height, width = image.shape[:2]
        chroma = planes[height:].reshape(2, -1)
        given = np.vstack([planes[:height], chroma.T.reshape(height // 2, width)])
    name = {"crop": "bgr8", "mirrored": "bgr8", "big endian": "bgr16"}.get(encoding, encoding)
    with adcp.load(segmenter) as model:
        expected, found = model(image).label_ids, model(given, encoding=name).label_ids
    assert expected.shape == image.shape[:2]
    assert np.unique(expected).size > 1
    # Chroma of 4:2:0 is blurred at edges.
    assert (found != expected).mean() <= (0.05 if encoding == "nv12" else 0.0)


@pytest.mark.parametrize(
    ("image", "encoding", "says"),
    [
        (np.zeros((4, 5), np.uint8), "bgr8", r"needs uint8 \(H, W, 3\), the image is uint8 \(4, 5\).*mono8"),
        (np.zeros((4, 5, 4), np.uint8), "bgr8", "bgra8"),
        (np.zeros((3, 40, 50), np.uint8), "bgr8", "channels come last"),
        (np.zeros((1, 4, 5, 3), np.uint8), "bgr8", "one image a call"),
        (np.zeros((4, 5, 3), np.float32), "bgr8", "0..1 times 255"),
        (np.zeros((4, 5, 3), np.int64), "bgr8", "astype"),
        (np.zeros((4, 5, 3), bool), "bgr8", "astype"),
        (np.zeros((4, 5, 3), np.uint16), "bgr8", r"needs uint8.*encoding='bgr16'"),
        (np.zeros((4, 5, 2), np.uint8), "yuyv", "yuyv, 5x4: this encoding needs an even width"),
        (np.zeros((4, 5), np.uint8), "mono16", "needs uint16"),
        (np.zeros((0, 5, 3), np.uint8), "bgr8", r"\(0, 5, 3\)"),
        (np.zeros((5, 4), np.uint8), "nv12", "rows of chroma"),
        (np.zeros((4, 5, 3), object), "bgr8", "needs uint8"),
        (None, "bgr8", "cv2.imread returns None"),
        ("road.png", "bgr8", "read the file first"),
        (Path("road.png"), "bgr8", "read the file first"),
        ([[1, 2], [3, 4]], "bgr8", r"np.asarray\(image\)"),
        (np.zeros((4, 5, 3), np.uint8), "RGB", "unknown encoding 'RGB'.*rgb8"),
        (np.zeros((4, 5, 3), np.uint8), None, "unknown encoding None"),
        (np.zeros((4, 5), np.uint16), "16UC1", "unknown encoding '16UC1'"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(
    segmenter: Path, image: Any, encoding: Any, says: str
) -> None:
    with adcp.load(segmenter) as model:
        with pytest.raises(ImageError, match=says) as error:
            model(image, encoding=encoding)
        one_line(error)
        assert isinstance(model(draw_scene(0)), adcp.LabelMask)  # and the model goes on


def test_several_threads_share_a_model_and_results_stay(segmenter: Path) -> None:
    images = [draw_scene(index) for index in range(24)]
    with adcp.load(segmenter) as model:
        first = [model(image).label_ids.copy() for image in images]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(model, images))  # kept, while other images run in the same buffers
    for expected, result in zip(first, results, strict=True):
        np.testing.assert_array_equal(expected, result.label_ids)
    assert len({mask.tobytes() for mask in first}) > 1


def test_a_closed_model_says_so(segmenter: Path) -> None:
    model = adcp.load(segmenter)
    model.close()
    model.close()
    with pytest.raises(adcp.AdcpError, match="is closed: load it again") as error:
        model(draw_scene(0))
    one_line(error)
    assert "closed" in repr(model)


def test_settings_and_speed_reach_the_task(tmp_path: Path) -> None:
    detector, planner = write_detector(tmp_path / "detector"), write_planner(tmp_path / "planner")
    with adcp.load(detector) as usual, adcp.load(detector, settings={"max_detections": 1}) as limited:
        assert len(usual(draw_scene(0)).scores) > len(limited(draw_scene(0)).scores) == 1
        with pytest.raises(adcp.AdcpError, match="speed_mps is for planning") as error:
            usual(draw_scene(0), speed_mps=3.0)
        one_line(error)
    with adcp.load(planner, settings={"speed_mps": 4.0}) as model:
        assert model(draw_scene(0), speed_mps=7.0).speed_mps == 4.0  # the tiny planner has no speed profile
    with pytest.raises(adcp.AdcpError, match="unknown key 'treshold'") as error:
        adcp.load(detector, settings={"treshold": 1})
    one_line(error)


@pytest.mark.parametrize("speed_mps", [math.inf, -math.inf, math.nan, 1e9])
def test_no_plan_begins_at_a_speed_that_no_car_has(speed_mps: float) -> None:
    """An infinite speed raised OverflowError, 1e9 m/s asked for 89 GiB of path."""
    with adcp.load("road_planning") as model:
        before = model(draw_scene(0), speed_mps=100.0)
        with pytest.raises(adcp.AdcpError, match="speed_mps is at most 100 m/s, not") as error:
            model(draw_scene(0), speed_mps=speed_mps)
        one_line(error)
        np.testing.assert_array_equal(model(draw_scene(0), speed_mps=100.0).points_xy_m, before.points_xy_m)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"variant": "int4"}, "no variant 'int4'"),
        ({"variant": ""}, "no variant ''"),  # such as of a variable that is not set; it was the baseline
        ({"variant": "accepted"}, "no accepted variant"),
        ({"backend": "tensorflow"}, "unknown backend"),
        ({"options": {"thread": 2}}, "unknown key 'thread'"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(segmenter: Path, arguments: Any, says: str) -> None:
    with pytest.raises(adcp.AdcpError, match=says) as error:
        adcp.load(segmenter, **arguments)
    one_line(error)


@pytest.mark.parametrize("frames", [0, -1])
def test_no_number_of_frames_is_taken_for_another(segmenter: Path, tmp_path: Path, frames: int) -> None:
    """0 was the recipe's number, -1 an error of islice."""
    with pytest.raises(
        adcp.AdcpError, match=f"frames is {frames}: compress calibrates on at least one"
    ) as error:
        adcp.compress(segmenter, "static_int8", write_images(tmp_path / "drive", 4), frames=frames)
    one_line(error)


@dataclass(frozen=True)
class Compressed:
    """A model, frames, a work folder, and what compress returned and reported on its way."""

    folder: Path
    images: Path
    work: Path
    result: CompressionResult
    steps: set[str]


@pytest.fixture(scope="module")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> Compressed:
    place, steps = tmp_path_factory.mktemp("compressed"), set()
    folder, images = write_segmenter(place / "model"), write_images(place / "images", 60)
    recipe, work = small_recipe(place / "recipe"), place / "work"
    result = adcp.compress(folder, recipe, images, work=work, progress=lambda *step: steps.add(step[0]))
    return Compressed(folder, images, work, result, steps)


def test_from_model_to_verdict_to_accuracy_to_comparison(compressed: Compressed, tmp_path: Path) -> None:
    """Compress stores a variant in the work folder; load, evaluate and compare find it there."""
    folder, images, work = compressed.folder, compressed.images, compressed.work
    assert (compressed.result.name, compressed.result.verdict.status) == ("small", "accepted")
    assert (compressed.result.report_folder / "report.json").is_file()
    assert {"quantize_int8", "verify"} <= compressed.steps
    with adcp.load(folder, "small", work=work) as small, adcp.load(folder, "accepted", work=work) as accepted:
        assert small.variant == accepted.variant == "small"

    data = write_masks(tmp_path / "masks")
    measured = adcp.evaluate(folder, data, ["fp32", "small"], work=work)
    assert list(measured.results) == ["fp32", "small"] and list(measured.differences) == ["small"]
    figure, difference = measured.results["fp32"].figures["miou"], measured.differences["small"]["miou"]
    assert difference.value == pytest.approx(measured.results["small"].figures["miou"].value - figure.value)
    half = adcp.evaluate(folder, LabeledChoice(str(data), to_share=0.5))
    assert len(half.results["fp32"].indices) < len(measured.results["fp32"].indices)

    compared = adcp.compare(folder, images, "small", work=work, limit=30)
    assert compared.agreement.frames == 30
    assert 0.8 <= compared.agreement.score <= 1.0
    assert compared.latency.baseline_p50_ms > 0.0


def test_what_would_agree_with_anything_is_not_compared(compressed: Compressed, tmp_path: Path) -> None:
    """One gray image: the baseline says the same on every frame, and so does any other network."""
    folder, images, work = compressed.folder, compressed.images, compressed.work
    gray = tmp_path / "gray"
    gray.mkdir()
    for index in range(5):
        cv2.imwrite(str(gray / f"{index}.png"), np.full((96, 128, 3), 127, np.uint8))
    with pytest.raises(adcp.AdcpError, match="one label|same mask") as error:
        adcp.compare(folder, gray, "small", work=work)
    one_line(error)
    with pytest.raises(adcp.AdcpError, match="is the baseline") as error:
        adcp.compare(folder, images, "fp32", work=work)
    one_line(error)
    with pytest.raises(adcp.AdcpError, match="at least one frame") as error:
        adcp.compare(folder, images, "small", work=work, limit=0)
    one_line(error)
