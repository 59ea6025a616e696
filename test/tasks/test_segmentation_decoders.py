# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sigmoid and argmax decoders against their reference arithmetic on random scores; what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, Variant
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.tasks import Task, create_task
from ad_compressed_perception.tasks.geometry import plan_geometry

HEIGHT, WIDTH = 24, 40
seeds = st.integers(0, 2**31)


def task_of(decoder: str, labels: int, resize: str = "stretch", **options: Any) -> Task[Any]:
    manifest = Manifest(
        name="m",
        task="segmentation",
        labels=[f"label {index}" for index in range(labels)],
        input={
            "width": WIDTH, "height": HEIGHT, "resize": resize, "letterbox_align": "center",
            "resize_width": 60, "resize_height": 33,
        },
        output={"decoder": decoder, "options": options},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )  # fmt: skip
    return create_task(manifest)


def bilinear(plane: NDArray[Any], height: int, width: int) -> NDArray[np.float64]:
    """Resize as torch.nn.functional.interpolate(mode="bilinear", align_corners=False) documents it."""
    axes = []
    for size, old in ((height, plane.shape[0]), (width, plane.shape[1])):
        at = np.maximum((np.arange(size) + 0.5) * old / size - 0.5, 0.0)
        low = np.minimum(at.astype(int), old - 1)
        axes.append((low, np.minimum(low + 1, old - 1), at - low))
    (top, bottom, y), (left, right, x) = axes
    rows = plane[top] * (1 - y)[:, None] + plane[bottom] * y[:, None]
    return np.asarray(rows[:, left] * (1 - x) + rows[:, right] * x, np.float64)


LAYOUTS = {
    "NCHW": lambda planes: planes[None],
    "CHW": lambda planes: planes,
    "NHWC": lambda planes: planes.transpose(1, 2, 0)[None],
    "HWC": lambda planes: planes.transpose(1, 2, 0),
}


@pytest.mark.parametrize("axes", LAYOUTS)
@given(seeds, st.sampled_from([1, 2, 4]), st.sampled_from(["nearest", "bilinear"]))
def test_argmax_of_coarse_scores_is_that_of_enlarged_ones(
    axes: str, seed: int, factor: int, upsampling: str
) -> None:
    """SegFormer and MMSegmentation enlarge the scores, not the labels: their order is kept."""
    rng = np.random.default_rng(seed)
    planes = rng.normal(0, 3, (3, HEIGHT // factor, WIDTH // factor)).astype(np.float32)
    layout = "NCHW" if axes.endswith("CHW") else "NHWC"
    decoder = task_of("argmax", 3, layout=layout, upsampling=upsampling).decoder
    scores = np.ascontiguousarray(LAYOUTS[axes](planes))
    decoder.check((TensorSpec("o", scores.shape, "float32"),))

    ids = decoder.label_ids({"o": scores})

    large = np.stack([bilinear(plane, HEIGHT, WIDTH) for plane in planes])
    expected = large if upsampling == "bilinear" else planes
    assert ids.shape == expected.shape[1:]
    chosen = np.take_along_axis(expected, ids[None].astype(int), 0)[0]
    np.testing.assert_allclose(chosen, expected.max(axis=0), atol=1e-5)


@pytest.mark.parametrize("axes", LAYOUTS)
@given(seeds, st.integers(1, 3), st.booleans(), st.floats(0.1, 0.9))
def test_sigmoid_labels_the_strongest_channel_above_the_threshold(
    axes: str, seed: int, channels: int, as_logits: bool, threshold: float
) -> None:
    """The definition, pixel by pixel: label 0 where no probability is above the threshold."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (channels, 6, 10)).astype(np.float32)
    chances = 1 / (1 + np.exp(-logits.astype(np.float64)))
    values = logits if as_logits else chances.astype(np.float32)
    scores = "logits" if as_logits else "probability"
    decoder = task_of("sigmoid", channels + 1, scores=scores, threshold=threshold).decoder
    tensor = np.ascontiguousarray(LAYOUTS[axes](values))
    decoder.check((TensorSpec("o", tensor.shape, "float32"),))

    ids = decoder.label_ids({"o": tensor})

    expected = np.where(chances.max(axis=0) > threshold, chances.argmax(axis=0) + 1, 0)
    is_close = np.abs(chances.max(axis=0) - threshold) < 1e-6
    np.testing.assert_array_equal(ids[~is_close], expected[~is_close])


def test_one_binary_plane_comes_in_any_shape() -> None:
    chances = np.random.default_rng(0).random((HEIGHT, WIDTH)).astype(np.float32)
    for shape in ((HEIGHT, WIDTH), (1, HEIGHT, WIDTH), (1, 1, HEIGHT, WIDTH), (1, HEIGHT, WIDTH, 1)):
        decoder = task_of("sigmoid", 2).decoder
        decoder.check((TensorSpec("o", shape, "float32"),))
        np.testing.assert_array_equal(decoder.label_ids({"o": chances.reshape(shape)}), chances > 0.5)


@pytest.mark.parametrize(
    "dtype", [np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.int32, np.int64, np.uint64, np.float16,
              np.float32, np.float64]
)  # fmt: skip
def test_ready_ids_of_every_type_are_taken(dtype: Any) -> None:
    task = task_of("argmax", 2, layout="LABELS")
    ids = np.random.default_rng(0).integers(0, 2, (1, HEIGHT, WIDTH)).astype(dtype)
    np.testing.assert_array_equal(task.decoder.label_ids({"o": ids}), ids[0])
    if dtype != np.bool_:
        ids[0, 3, 3] = 100
        with pytest.raises(OutputError, match="label id 100"):
            task.decode({"o": ids}, plan_geometry(task.manifest.input, 80, 48))


@pytest.mark.parametrize("decoder", ["argmax", "sigmoid"])
@pytest.mark.parametrize("factor", [1, 8])
@pytest.mark.parametrize("resize", ["stretch", "letterbox", "crop"])
@given(st.integers(9, 200), st.integers(9, 200))
def test_every_source_pixel_takes_the_label_at_its_center(
    decoder: str, factor: int, resize: str, width: int, height: int
) -> None:
    """By the mapping of pixel centers, also where a letterbox begins within a label of a coarse head.

    Failed before: the image was cut out of the coarse labels at whole ones, up to half of one off.
    """
    task = task_of(decoder, 2, resize, **({"layout": "LABELS"} if decoder == "argmax" else {}))
    geometry = plan_geometry(task.manifest.input, width, height)
    ids = np.random.default_rng(width).integers(0, 2, (HEIGHT // factor, WIDTH // factor)).astype(np.float32)

    found = task.decode({"o": ids}, geometry).label_ids

    x = (np.arange(width) + 0.5) * geometry.resized_width / width + geometry.offset_x
    y = (np.arange(height) + 0.5) * geometry.resized_height / height + geometry.offset_y
    inside = ((y >= 0) & (y < HEIGHT))[:, None] & ((x >= 0) & (x < WIDTH))
    rows = np.clip(y / factor, 0, HEIGHT // factor - 1).astype(int)
    columns = np.clip(x / factor, 0, WIDTH // factor - 1).astype(int)
    expected = np.where(inside, ids[np.ix_(rows, columns)], 0)
    # A center that lies on the border of two labels may take either.
    sure = ~(np.isclose(y / factor % 1, 0) | np.isclose(y / factor % 1, 1))[:, None]
    sure = sure & ~(np.isclose(x / factor % 1, 0) | np.isclose(x / factor % 1, 1))
    np.testing.assert_array_equal(found[sure], expected[sure])


OUTPUTS = {
    "scores": (1, 3, HEIGHT, WIDTH),
    "auxiliary": (1, 3, HEIGHT // 8, WIDTH // 8),
    "classes": (1, 1000),
    "other": (1, 2, HEIGHT, WIDTH),
}


@pytest.mark.parametrize(
    ("names", "options", "chosen"),
    [
        (["classes", "scores", "other"], {}, "scores"),
        (["auxiliary", "classes"], {}, "auxiliary"),
        (["scores", "auxiliary"], {"output": "auxiliary"}, "auxiliary"),
        (["scores", "auxiliary"], {}, "several of its outputs fit, among 'scores' .* option output"),
        (["classes", "other"], {}, "none of its outputs fit, among 'classes'"),
    ],
)
@pytest.mark.parametrize("decoder", ["argmax", "sigmoid"])
def test_one_of_several_outputs_is_chosen_by_name_or_shape(
    decoder: str, names: list[str], options: dict[str, str], chosen: str
) -> None:
    task = task_of(decoder, 3 if decoder == "argmax" else 4, **options)
    specs = tuple(TensorSpec(name, OUTPUTS[name], "float32") for name in names)
    if chosen not in names:
        with pytest.raises(ModelFileError, match=chosen):
            task.decoder.check(specs)
        return
    task.decoder.check(specs)
    values = {name: np.full(OUTPUTS[name], np.nan if name != chosen else 0.0, np.float32) for name in names}
    assert not task.decoder.label_ids(values).any()


@pytest.mark.parametrize(
    ("labels", "shape", "dtype", "named"),
    [
        (2, (1, 2, HEIGHT, WIDTH), "float32", "decoder argmax takes one for every label"),
        (4, (1, 1, HEIGHT, WIDTH), "float32", "3 channels of decoder sigmoid"),
        (2, (1, 1, HEIGHT, WIDTH), "uint8", "decoder argmax with layout LABELS"),
        (2, (1, 1, WIDTH, HEIGHT), "float32", "24x40"),
        (2, (1, 1), "float32", "24x40"),
    ],
)
def test_what_sigmoid_cannot_decode_is_refused(
    labels: int, shape: tuple[int, ...], dtype: str, named: str
) -> None:
    with pytest.raises(ModelFileError, match=named):
        task_of("sigmoid", labels).decoder.check((TensorSpec("o", shape, dtype),))


@pytest.mark.parametrize(("low", "high"), [(-3.0, 4.0), (0.0, 255.0), (0.0, 1.2)])
def test_scores_that_are_no_probabilities_fail_the_frame(low: float, high: float) -> None:
    values = np.random.default_rng(0).uniform(low, high, (1, 1, HEIGHT, WIDTH)).astype(np.float32)
    with pytest.raises(OutputError, match="scores: logits"):
        task_of("sigmoid", 2).decoder.label_ids({"o": values})
    task_of("sigmoid", 2, scores="logits").decoder.label_ids({"o": values})


@pytest.mark.parametrize(
    ("labels", "options", "named"),
    [(1, {}, "background"), (2, {"threshold": 1.0}, "threshold"), (2, {"scores": "odds"}, "scores")],
)
def test_options_of_sigmoid_that_make_no_sense_are_named(
    labels: int, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ManifestError, match=named):
        task_of("sigmoid", labels, **options)
