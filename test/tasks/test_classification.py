# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Classes from outputs: every form that exporters write, settings, and numbers that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ad_compressed_perception.analysis.output_plausibility import check_outputs
from ad_compressed_perception.core.errors import ManifestError, ModelFileError, OutputError
from ad_compressed_perception.core.manifest import Manifest, Variant, load_manifest
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.core.tensors import TensorSpec
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.report.difference import describe_difference, draw_difference
from ad_compressed_perception.report.overlay import draw_result
from ad_compressed_perception.tasks import create_task
from ad_compressed_perception.tasks.geometry import plan_geometry
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.classifiers import LABELS, draw_color, write_classifier

LOGITS = np.array([1.0, 4.0, -2.0], np.float32)


def manifest_of(labels: int, settings: dict[str, Any] | None = None, **options: Any) -> Manifest:
    return Manifest(
        name="m",
        task="classification",
        labels=[f"label {index}" for index in range(labels)],
        input={"width": 8, "height": 8},
        output={"decoder": "classes", "options": options, "settings": settings or {}},
        baseline="fp32",
        variants={"fp32": Variant(file="x.onnx", sha256="0" * 64)},
    )


def decoded(manifest: Manifest, values: NDArray[Any]) -> Classification:
    """Return the result after the same check that loading a file makes."""
    task = create_task(manifest)
    task.decoder.check((TensorSpec("scores", values.shape, values.dtype.name),))
    found = task.decode({"scores": values}, plan_geometry(manifest.input, 100, 50))
    assert isinstance(found, Classification)
    return found


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 3, 1, 1), (1, 1, 1, 3)])
def test_the_softmax_of_logits_in_every_shape_of_a_head(shape: tuple[int, ...]) -> None:
    found = decoded(manifest_of(3, activation="softmax"), LOGITS.reshape(shape))
    expected = np.exp(LOGITS) / np.exp(LOGITS).sum()
    assert found.scores == pytest.approx(expected, abs=1e-6)
    assert found.ranked.tolist() == [1, 0, 2]
    assert (found.label, found.score) == ("label 1", pytest.approx(expected[1]))


@given(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=9))
def test_no_logits_overflow(values: list[float]) -> None:
    logits = np.array([values], np.float32)
    scores = decoded(manifest_of(len(values), activation="softmax"), logits).scores
    assert float(scores.sum()) == pytest.approx(1.0, abs=1e-5)
    scores = decoded(manifest_of(len(values), activation="sigmoid"), logits).scores
    assert np.isfinite(scores).all()
    assert scores.min() >= 0.0
    assert scores.max() <= 1.0


def test_a_log_softmax_is_decoded_as_logits() -> None:
    """PyTorch's classifiers often end so; softmax(log p) = p."""
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum()
    found = decoded(manifest_of(3, activation="softmax"), np.log(softmax)[None])
    assert found.scores == pytest.approx(softmax, abs=1e-6)


@pytest.mark.parametrize(("activation", "number"), [("none", 0.8), ("sigmoid", np.log(4.0))])
def test_one_number_is_the_second_of_two_labels(activation: str, number: float) -> None:
    """A binary classifier of Keras or PyTorch; log(0.8 / 0.2) is the logit of 0.8."""
    found = decoded(manifest_of(2, activation=activation), np.array([[number]], np.float32))
    assert found.scores == pytest.approx([0.2, 0.8])
    assert found.label == "label 1"


def test_the_threshold_and_top_k_choose_what_is_published() -> None:
    """All scores stay in the result; equal ones are in the order of the labels, on every platform."""
    scores = np.array([[0.1, 0.3, 0.3, 0.2, 0.1]], np.float32)
    few = decoded(manifest_of(5, {"top_k": 3, "score_threshold": 0.15}), scores)
    assert few.ranked.tolist() == [1, 2, 3]
    assert few.scores == pytest.approx(scores[0])
    none = decoded(manifest_of(5, {"score_threshold": 0.5}), scores)
    assert (none.label, none.score, none.ranked.tolist()) == (None, 0.0, [])


@pytest.mark.parametrize(
    ("values", "named"),
    [
        (np.array([[1.0, 4.0, -2.0]]), "from -2 to 4 instead of 0 to 1; are they logits. Set .* softmax"),
        (np.array([[0.2, np.nan, 0.1]]), "not finite"),
        (np.array([[0.2, np.inf, 0.1]]), "not finite"),
    ],
)
def test_numbers_that_are_no_probabilities_fail_the_frame(values: NDArray[Any], named: str) -> None:
    with pytest.raises(OutputError, match=named):
        decoded(manifest_of(3), values.astype(np.float32))


@pytest.mark.parametrize(
    ("labels", "options", "shape", "dtype", "named"),
    [
        (
            3,
            {},
            (1, 4),
            "float32",
            "3 labels need an output of 1x3 or 1x3x1x1; the file's output 'scores' is",
        ),
        (3, {}, (1, 3, 3), "float32", "3 labels need"),
        (3, {}, (1, 3, 7, 7), "float32", "3 labels need"),
        (3, {}, (1, 1), "float32", "3 labels need"),
        (3, {}, (1,), "int64", "class scores are floats"),
        (2, {"activation": "softmax"}, (1, 1), "float32", "softmax of one number is always 1"),
        (3, {"output": "other"}, (1, 3), "float32", "output 'other' is not among scores"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_when_it_is_loaded(
    labels: int, options: dict[str, Any], shape: tuple[int, ...], dtype: str, named: str
) -> None:
    decoder = create_task(manifest_of(labels, **options)).decoder
    with pytest.raises(ModelFileError, match=named):
        decoder.check((TensorSpec("scores", shape, dtype),))


def test_one_label_is_no_classifier() -> None:
    with pytest.raises(ManifestError, match="with one label every frame has it"):
        create_task(manifest_of(1))
    with pytest.raises(ValueError, match="classification needs labels"):
        manifest_of(0)


def checked(folder: Path, **fields: Any) -> None:
    pipeline = open_pipeline(load_manifest(write_classifier(folder, **fields)))
    try:
        check_outputs(pipeline, [Frame(draw_color(index), "BGR") for index in range(16)], "colors")
    finally:
        pipeline.close()


@pytest.mark.parametrize(
    ("end", "activation"),
    [("softmax", "none"), ("logits", "softmax"), ("logits", "sigmoid"), ("sigmoid", "none")],
)
def test_a_classifier_that_is_described_rightly_is_plausible(
    tmp_path: Path, end: Any, activation: str
) -> None:
    checked(tmp_path, end=end, activation=activation)


@pytest.mark.parametrize("sharpness", [0.0, 0.05, 2.0])
def test_a_classifier_that_is_never_sure_is_no_double_softmax(tmp_path: Path, sharpness: float) -> None:
    """Its scores are as near to each other as those of two softmaxes."""
    checked(tmp_path, sharpness=sharpness)


@pytest.mark.parametrize(
    ("end", "activation", "named"),
    [
        ("softmax", "softmax", "their sum is 1, so the file has its softmax already.* activation: none"),
        ("softmax", "sigmoid", "so the file has its softmax already"),
        ("sigmoid", "sigmoid", "so the file has its sigmoid already"),
        ("sigmoid", "softmax", "so the file has its sigmoid already"),
        ("logits", "none", "are they logits"),
        ("twice", "none", "the file applies a softmax twice"),
    ],
)
def test_an_activation_too_many_or_too_few_is_named(
    tmp_path: Path, end: Any, activation: str, named: str
) -> None:
    """The strongest label stays the same with one too many: no accuracy shows that scores are near 1/K."""
    with pytest.raises(OutputError, match=named):
        checked(tmp_path, end=end, activation=activation)


def test_labels_are_drawn_and_differences_named() -> None:
    labels = ("red", "green")
    first = Classification(np.array([0.9, 0.1], np.float32), np.array([0, 1]), labels)
    second = Classification(np.array([0.3, 0.7], np.float32), np.array([1, 0]), labels)
    unsure = Classification(np.array([0.5, 0.5], np.float32), np.array([], np.int64), labels)
    image = np.zeros((120, 200, 3), np.uint8)
    assert describe_difference(first, second) == "red 0.90 to green 0.70; scores differ by at most 0.60"
    assert describe_difference(first, unsure).startswith("red 0.90 to (no label) 0.00")
    for found in (first, unsure):
        assert draw_result(image, found).any()
    assert draw_difference(image, first, second).any()
    assert not draw_difference(image, first, first).any()  # nothing differs, nothing is drawn


def test_the_tiny_classifier_knows_its_colors(tmp_path: Path) -> None:
    """Which the tests with it rely on."""
    for layout in ("NCHW", "NHWC"):
        pipeline = open_pipeline(load_manifest(write_classifier(tmp_path / layout, layout=layout)))
        found = [pipeline.run(Frame(draw_color(index), "BGR"))[0] for index in range(20)]
        pipeline.close()
        assert [one.label for one in found if isinstance(one, Classification)] == [*LABELS, *LABELS]
