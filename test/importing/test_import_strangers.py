# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of strangers: what is broken is named with its way out, what nothing shows is unsure."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from ad_compressed_perception.cli.import_model import read_labels
from ad_compressed_perception.cli.main import app
from ad_compressed_perception.cli.model_file import folder_of
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.importing.import_model import Imported, ImportRequest, import_model
from support.compression import write_images


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("frames") / "images", 8)


def stranger(
    path: Path, end: str = "", *, shape: Any = (1, 3, 32, 32), names: tuple[str, str] = ("a", "b")
) -> Path:
    """Write two convolutions with random weights, and what ``end`` names behind them."""
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.standard_normal((8, shape[1], 3, 3)).astype(np.float32) * 0.3, "first"),
        numpy_helper.from_array(rng.standard_normal((4, 8, 3, 3)).astype(np.float32) * 0.3, "second"),
    ]
    nodes = [
        helper.make_node("Conv", ["image", "first"], ["hidden"], names[0], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["hidden", "second"], ["planes"], names[1], pads=[1, 1, 1, 1]),
    ]
    sizes = [1, 4, 32, 32]
    if end == "nan":
        nodes.append(helper.make_node("Sub", ["planes", "planes"], ["zeros"]))
        nodes.append(helper.make_node("Div", ["zeros", "zeros"], ["out"]))
    elif end == "pooled":
        nodes.append(helper.make_node("GlobalAveragePool", ["planes"], ["pooled"]))
        nodes.append(helper.make_node("Flatten", ["pooled"], ["out"]))
        sizes = [1, 4]
    elif end == "softmax":
        nodes.append(helper.make_node("Softmax", ["planes"], ["out"], axis=1))
    else:
        nodes[-1].output[0] = "out"
    graph = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, sizes)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def run(*arguments: object) -> tuple[int, str]:
    """Return the exit status of an import and its output, or its error."""
    result = CliRunner().invoke(app, ["import", *map(str, arguments)])
    return result.exit_code, str(result.exception) if result.exception else result.output


def decoder_of(imported: Imported) -> Any:
    return next(one for one in imported.guess.choices if one.what == "decoder")


@pytest.mark.parametrize("end", ["", "pooled"])
def test_what_mirrors_in_any_network_is_no_evidence_of_classes(
    tmp_path: Path, images: Path, end: str
) -> None:
    """Planes and pooled numbers of random convolutions mirror well, with skill of 0.4 to 0.9."""
    source = stranger(tmp_path / "net.onnx", end)

    imported = import_model(source, tmp_path / "made", ImportRequest(sample=str(images)))

    assert not decoder_of(imported).is_certain
    assert "do not show that they are classes" in decoder_of(imported).why
    assert not next(one for one in imported.guess.choices if one.what == "scale").is_certain


def test_two_nodes_of_one_name_are_imported(tmp_path: Path) -> None:
    """ONNX Runtime refuses such a file; what is stored, and run, has other names."""
    source = stranger(tmp_path / "net.onnx", "softmax", names=("same", "same"))

    status, text = run(source, tmp_path / "made")

    assert status == 0, text
    stored = onnx.load(str(tmp_path / "made" / "fp32.onnx"))
    assert len({node.name for node in stored.graph.node if node.name}) >= 2


def test_a_file_named_in_capitals_is_imported(tmp_path: Path) -> None:
    source = stranger(tmp_path / "NET.ONNX", "softmax")

    assert run(source, tmp_path / "made")[0] == 0
    assert load_manifest(tmp_path / "made").name == "NET"


def test_a_network_that_gives_nan_is_not_imported(tmp_path: Path, images: Path) -> None:
    """It came in as task raw, without a word of it, and each later command failed."""
    status, text = run(stranger(tmp_path / "net.onnx", "nan"), tmp_path / "made", "--sample", images)

    assert status == 1
    assert "not imported" in text and "output 'out': 4096 of 4096 numbers" in text
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"hello, this is no model", "not an ONNX file"),
        (b"", "not an ONNX file"),
    ],
)
def test_a_file_that_is_no_model_is_named_once(tmp_path: Path, content: bytes, words: str) -> None:
    source = tmp_path / "net.onnx"
    source.write_bytes(content)

    status, text = run(source, tmp_path / "made")

    assert status == 1
    assert words in text and text.count("cannot load") <= 1 and "\n" not in text


def test_four_channels_are_refused_as_such(tmp_path: Path) -> None:
    """The error proposed --input-layout, which did not help."""
    status, text = run(stranger(tmp_path / "net.onnx", shape=(1, 4, 32, 32)), tmp_path / "made")

    assert status == 1 and "1 or 3 channels" in text and "--input-layout" not in text


def test_what_cannot_be_a_folder_is_refused_before_the_work(tmp_path: Path) -> None:
    """It was refused in the system's words, after all guesses were made."""
    (tmp_path / "file").write_text("")

    status, text = run(stranger(tmp_path / "net.onnx"), tmp_path / "file" / "made")

    assert status == 1 and f"{tmp_path / 'file'} is a file, not a folder" in text


def test_a_missing_file_of_labels_is_no_label() -> None:
    with pytest.raises(typer.BadParameter, match=r"no file coco\.names"):
        read_labels("coco.names")


def test_of_two_imports_into_one_folder_the_second_is_refused(tmp_path: Path) -> None:
    """Both ended with success, and the first model was lost."""
    sources = [stranger(tmp_path / f"net{index}.onnx", "softmax") for index in range(2)]
    folder = tmp_path / "made"

    def make(source: Path) -> str:
        try:
            return import_model(source, folder, ImportRequest()).manifest.name
        except ManifestError as error:
            return str(error)

    with ThreadPoolExecutor(2) as pool:
        words = sorted(pool.map(make, sources))

    name = load_manifest(folder).name
    assert name in words and "has a model.yaml already" in words[0]


def test_the_table_of_candidates_fits_a_usual_terminal(
    tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten columns in 80 characters broke each word in pieces."""
    monkeypatch.setenv("COLUMNS", "80")

    status, text = run(stranger(tmp_path / "net.onnx"), tmp_path / "made", "--sample", images)

    table = text[text.index("candidates on") : text.index("\nunsure")]
    assert status == 0 and "…" not in table
    assert all(part in table for part in ("mirrored", "other frame", "segmentation", "pixel / 255, RGB"))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, images: Path) -> None:
    """The error named no folder."""
    source, before = stranger(tmp_path / "net.onnx", "softmax"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (source.stat().st_size // 2, before[1]))
    try:
        with pytest.raises(ManifestError, match=r"cannot write to .*made: .*; nothing was imported"):
            import_model(source, tmp_path / "made", ImportRequest(sample=str(images)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx"]


def test_the_line_of_a_file_in_place_of_a_folder_names_what_is_unsure(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line named task and scale as if they were known; planes need not be classes at all."""
    folder_of(stranger(tmp_path / "net.onnx"), tmp_path / "work", str(images))

    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "unsure: decoder, scale, color, resize, labels. If" in line


def test_weights_that_an_old_file_does_not_repeat_as_inputs_are_read(tmp_path: Path) -> None:
    """The first format demanded it, runtimes never did; such files were refused as not valid."""
    model = onnx.load(str(stranger(tmp_path / "net.onnx", "softmax")))
    model.ir_version = 3
    onnx.save(model, str(tmp_path / "old.onnx"))

    assert run(tmp_path / "old.onnx", tmp_path / "made")[0] == 0
