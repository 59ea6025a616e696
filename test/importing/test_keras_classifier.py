# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A Keras classifier (Conv, pool, dense) comes in, runs in integers and is judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.results import Classification
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.import_model import ImportRequest, import_model
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.classifiers import COLORS_BGR, LABELS, SIZE, draw_color, write_colors
from support.compression import small_recipe


def write_keras(path: Path) -> Path:
    """Write the tiny classifier of colors with layers of Keras, whose pixels are RGB from 0 to 255."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(3, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(len(LABELS), activation="softmax"),
        ]
    )
    colors = np.array(list(COLORS_BGR.values()), np.float32)[:, ::-1] / 255
    kernel = np.zeros((3, 3, 3, 3), np.float32)
    for channel in range(3):
        kernel[:, :, channel, channel] = 1 / 9
    cells = (SIZE // 2) ** 2
    _, convolution, _, _, dense = model.layers
    convolution.set_weights([kernel, np.zeros(3, np.float32)])
    dense.set_weights([np.tile(30 * colors.T / cells, (cells, 1)), -15 * np.square(colors).sum(axis=1)])
    if path.suffix == ".keras":
        model.save(path)
    else:
        model.export(path, verbose=False)
    return path


@pytest.mark.parametrize("name", ["colors.keras", "saved_model"])
def test_a_keras_classifier_is_imported_quantized_and_accepted(tmp_path: Path, name: str) -> None:
    source = write_keras(tmp_path / name)
    images = write_colors(tmp_path / "images", 80)
    request = ImportRequest("classification", labels=LABELS, input={"scale": 1.0}, sample=str(images))
    manifest = import_model(source, tmp_path / "model", request).manifest
    assert (manifest.input.layout, manifest.output.decoder) == ("NHWC", "classes")
    pipeline = open_pipeline(manifest)
    found = [pipeline.run(Frame(draw_color(index), "BGR"))[0] for index in range(10)]
    pipeline.close()
    assert [one.label for one in found if isinstance(one, Classification)] == LABELS

    accept = {"max_drop": 0.1, "min_integer_coverage": 1.0}
    recipe = small_recipe(
        tmp_path / "recipe", calibration={"frames": 20}, verify={"frames": 60}, accept=accept
    )
    result = compress_model(manifest, recipe, str(images), work=tmp_path / "work")
    assert (result.coverage.integer, result.coverage.compute) == (2, 2)
    assert result.verdict.status == "accepted", result.verdict.reasons
