# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every file of a model is checked, not only the one that its manifest names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from ad_compressed_perception.core.errors import ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, file_sha256, load_manifest
from ad_compressed_perception.core.model_files import further_files
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.store import is_same_model, open_target
from support.models import write_detector

WEIGHTS = "fp32.onnx.data"


def enter(folder: Path, file: str, **changes: object) -> Manifest:
    """Give the variant fp32 another file, with its hash, and further keys."""
    path = folder / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data["variants"]["fp32"] |= {"file": file, "sha256": file_sha256(folder / file), **changes}
    path.write_text(yaml.safe_dump(data))
    return load_manifest(folder)


def external(folder: Path) -> str:
    """Move all weights of more than 64 bytes into a file of their own."""
    path = folder / "fp32.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=WEIGHTS, size_threshold=64)
    return path.name


def external_in_a_branch(folder: Path) -> str:
    """Move a constant of a branch, thus no weight of the graph itself, into a file of its own."""
    path = folder / "fp32.onnx"
    model = onnx.load(path)
    tensor = numpy_helper.from_array(np.ones(3, np.float32), "constant")
    external_data_helper.set_external_data(tensor, WEIGHTS)
    (folder / WEIGHTS).write_bytes(tensor.raw_data)
    tensor.ClearField("raw_data")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["branch_out"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("branch_out", TensorProto.FLOAT, [3])],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "condition"))
    model.graph.node.append(
        helper.make_node("If", ["condition"], ["unused"], then_branch=branch, else_branch=branch)
    )
    path.write_bytes(model.SerializeToString())
    return path.name


def openvino_ir(folder: Path) -> str:
    """Convert to OpenVINO's own format: an .xml file with the graph, a .bin file with the weights."""
    openvino = pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    openvino.save_model(openvino.Core().read_model(str(folder / "fp32.onnx")), str(folder / "fp32.xml"))
    return "fp32.xml"


FORMS = pytest.mark.parametrize(
    ("store", "further"),
    [(external, WEIGHTS), (external_in_a_branch, WEIGHTS), (openvino_ir, "fp32.bin")],
    ids=["weights", "constant of a branch", "openvino"],
)


@FORMS
def test_a_file_that_is_not_listed_is_refused_with_the_line_to_add(
    tmp_path: Path, store: Callable[[Path], str], further: str
) -> None:
    """Failed before: only the first file was looked at. The message's line makes the model load."""
    file = store(write_detector(tmp_path))
    manifest = enter(tmp_path, file)
    with pytest.raises(ModelFileError, match="its manifest lacks") as caught:
        manifest.checked_path("fp32")

    message = str(caught.value)
    assert "\n" not in message
    lines = yaml.safe_load(message[message.index("files: ") :])
    assert lines == {"files": {further: file_sha256(tmp_path / further)}}
    assert enter(tmp_path, file, **lines).checked_path("fp32") == tmp_path.resolve() / file


@pytest.mark.parametrize("suffix", [".bin", ".tflite", ".xml"])
def test_external_weights_are_found_whatever_the_suffix(tmp_path: Path, suffix: str) -> None:
    """Failed before: runtimes take ONNX under any name, and these suffixes meant "names no other file"."""
    file = external(write_detector(tmp_path))
    renamed = (tmp_path / file).rename(tmp_path / f"renamed{suffix}")
    with pytest.raises(ModelFileError, match=f"its manifest lacks.*{WEIGHTS}"):
        enter(tmp_path, renamed.name).checked_path("fp32")


def test_files_of_other_formats_that_hold_the_words_are_left_to_their_runtime(tmp_path: Path) -> None:
    words = b"\x08location"
    for name, content in (("a.tflite", b"\x1c\0\0\0TFL3" + words), ("b.xml", b"<net>" + words)):
        (tmp_path / name).write_bytes(content)
        assert further_files(tmp_path / name) == set()


@FORMS
def test_altered_weights_are_refused(tmp_path: Path, store: Callable[[Path], str], further: str) -> None:
    """Failed before: a model whose external weights were halved ran without a word."""
    file = store(write_detector(tmp_path))
    path = tmp_path / further
    manifest = enter(tmp_path, file, files={further: file_sha256(path)})
    path.write_bytes((np.frombuffer(path.read_bytes(), np.uint8) // 2).tobytes())
    with pytest.raises(ModelFileError, match=f"sha256.*{further}"):
        open_pipeline(manifest)
    path.unlink()
    with pytest.raises(ModelFileError, match=f"missing: .*{further}"):
        open_pipeline(manifest)


def test_a_listed_model_with_external_weights_runs(tmp_path: Path) -> None:
    file = external(write_detector(tmp_path))
    manifest = enter(tmp_path, file, files={WEIGHTS: file_sha256(tmp_path / WEIGHTS)})
    open_pipeline(manifest).close()


def test_the_first_file_is_checked_though_it_is_listed_again(tmp_path: Path) -> None:
    write_detector(tmp_path)
    path = tmp_path / "fp32.onnx"
    before = file_sha256(path)
    path.write_bytes(path.read_bytes() + b"x")
    manifest = enter(tmp_path, path.name, sha256=before, files={path.name: file_sha256(path)})
    with pytest.raises(ModelFileError, match="sha256"):
        manifest.checked_path("fp32")


def test_other_files_beside_a_model_are_not_its_own(tmp_path: Path) -> None:
    """A property named like the key of external data, weights stored inside, a .bin beside an ONNX file."""
    write_detector(tmp_path)
    path = tmp_path / "fp32.onnx"
    model = onnx.load(path)
    model.metadata_props.add(key="location", value="notes.txt")
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", "fp32.bin"  # left behind: the tensor's own data is used
    path.write_bytes(model.SerializeToString())
    for name in ("notes.txt", "fp32.bin"):
        (tmp_path / name).write_text("")
    assert further_files(path) == set()


def test_a_file_with_external_weights_that_cannot_be_parsed_is_refused(tmp_path: Path) -> None:
    write_detector(tmp_path)
    path = tmp_path / external(tmp_path)
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ModelFileError, match="not an ONNX file, or damaged") as caught:
        further_files(path)
    assert "\n" not in str(caught.value)


def test_external_data_whose_fields_are_stored_in_another_order_is_found(tmp_path: Path) -> None:
    """Protobuf allows a value before its key: ONNX Runtime reads both, and so must the check."""
    file = external(write_detector(tmp_path))
    path = tmp_path / file
    name = WEIGHTS.encode()
    key, value = b"\x0a\x08location", b"\x12" + bytes([len(name)]) + name
    data = path.read_bytes()
    assert key + value in data
    path.write_bytes(data.replace(key + value, value + key))
    assert further_files(path) == {WEIGHTS}


def test_a_work_folder_from_before_further_files_were_listed_stays_in_use(tmp_path: Path) -> None:
    file = external(write_detector(tmp_path / "model"))
    before = enter(tmp_path / "model", file)
    listed = enter(tmp_path / "model", file, files={WEIGHTS: file_sha256(tmp_path / "model" / WEIGHTS)})
    assert is_same_model(before, listed)
    assert not is_same_model(listed, enter(tmp_path / "model", file, files={WEIGHTS: "0" * 64}))


def test_a_model_with_other_external_weights_is_another_model(tmp_path: Path) -> None:
    """Failed before: variants made of the earlier weights counted as those of the present ones."""
    file = external(write_detector(tmp_path / "model"))
    weights, work = tmp_path / "model" / WEIGHTS, tmp_path / "work"
    manifest = enter(tmp_path / "model", file, files={WEIGHTS: file_sha256(weights)})
    target = open_target(manifest, work, False, "int8")
    # As earlier versions left it: the baseline is named by its path, its further files stay beside it.
    target.folder.mkdir(parents=True)
    (target.folder / "model.yaml").write_text(
        yaml.safe_dump(target.model_dump(mode="json", by_alias=True, exclude_none=True))
    )
    made = load_manifest(target.folder, allow_outside=True)
    assert made.checked_path("fp32") == tmp_path.resolve() / "model" / file

    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    changed = enter(tmp_path / "model", file, files={WEIGHTS: file_sha256(weights)})
    with pytest.raises(ManifestError, match="another"):
        open_target(changed, work, False, "int8")
