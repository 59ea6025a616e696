# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A file in half precision, input and all and its nodes out of order, becomes every kind of variant."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from ad_compressed_perception.compression.compress import compress_model
from ad_compressed_perception.core.manifest import Variant, file_sha256, load_manifest
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.compression import INT8_PASSES, small_recipe, write_images
from support.models import draw_scene, write_segmenter


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"), 40)


@pytest.fixture(scope="module")
def half_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the tiny segmenter in half precision, nodes reversed."""
    folder = write_segmenter(tmp_path_factory.mktemp("models") / "half")
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)
    manifest = load_manifest(folder)
    halved = manifest.input.model_copy(update={"dtype": "float16"})
    entry = Variant(file=path.name, sha256=file_sha256(path))
    save_manifest(manifest.model_copy(update={"input": halved, "variants": {"fp32": entry}}), folder)
    return folder


@pytest.mark.parametrize(
    ("passes", "kind"),
    [
        (INT8_PASSES, "int8"),
        (["input_size", "embed_preprocessing", "cast_float16"], "bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_variant_takes_single_precision_and_agrees(
    half_model: Path, images: Path, tmp_path: Path, passes: list[str], kind: str
) -> None:
    options = {"input_size": {"width": 32, "height": 24}}
    steps = [{name: options[name]} if name in options else name for name in passes]
    recipe = small_recipe(tmp_path / "recipe", passes=steps)

    result = compress_model(load_manifest(half_model), recipe, str(images), work=tmp_path / "work")

    stored = load_manifest(result.manifest.folder)
    given = stored.variant("small").input
    assert given is not None and given.dtype == ("uint8" if kind == "bytes" else "float32")
    assert result.passes[0].notes["raised_to_float32"] > 0
    scene = Frame(draw_scene(3), "BGR")
    masks = []
    for name in ("fp32", "small"):
        pipeline = open_pipeline(stored, name, allow_rejected=True)
        masks.append(pipeline.run(scene)[0].label_ids)
        pipeline.close()
    # Smooth squares on gray: few pixels are near a limit between two labels.
    assert np.mean(masks[0] == masks[1]) > (0.9 if kind == "bytes" else 0.99)
