# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A manifest names files of its own folder only, unless the user allows more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.core.errors import BackendError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import Manifest, file_sha256, load_manifest
from ad_compressed_perception.core.model_files import further_files
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.onnx_graph.io import read_model
from ad_compressed_perception.packing.packed_file import expand
from ad_compressed_perception.packing.packed_file_writer import pack
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.models import write_detector


def enter(folder: Path, **changes: Any) -> Path:
    path = folder / "model.yaml"
    data = yaml.safe_load(path.read_text())
    data["variants"]["fp32"] |= changes
    path.write_text(yaml.safe_dump(data))
    return folder


def absolute(model: Path, elsewhere: Path) -> None:
    os.replace(model / "fp32.onnx", elsewhere / "fp32.onnx")
    enter(model, file=str(elsewhere / "fp32.onnx"))


def upwards(model: Path, elsewhere: Path) -> None:
    absolute(model, elsewhere)
    enter(model, file="../elsewhere/fp32.onnx")


def by_variable(model: Path, elsewhere: Path) -> None:
    absolute(model, elsewhere)
    enter(model, file="${TEST_NOTHING:-" + str(elsewhere) + "}/fp32.onnx")


def linked(model: Path, elsewhere: Path) -> None:
    absolute(model, elsewhere)
    (model / "fp32.onnx").symlink_to(elsewhere / "fp32.onnx")
    enter(model, file="fp32.onnx")


def linked_folder(model: Path, elsewhere: Path) -> None:
    absolute(model, elsewhere)
    (model / "files").symlink_to(elsewhere)
    enter(model, file="files/fp32.onnx")


def further(model: Path, elsewhere: Path) -> None:
    (elsewhere / "weights").write_bytes(b"x")
    enter(model, files={"../elsewhere/weights": file_sha256(elsewhere / "weights")})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    return write_detector(tmp_path / "model")


@pytest.mark.parametrize("place", [absolute, upwards, by_variable, linked, linked_folder, further])
def test_a_file_outside_of_the_model_folder_needs_consent(
    model: Path, place: Callable[[Path, Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed before: a stranger's model.yaml could name any file of the host. Both consents work."""
    place(model, model.parent / "elsewhere")
    with pytest.raises(ModelFileError, match="outside of the model's folder.*allow_outside") as caught:
        open_pipeline(load_manifest(model))
    assert "\n" not in str(caught.value)

    open_pipeline(load_manifest(model, allow_outside=True)).close()
    monkeypatch.setenv("ADCP_ALLOW_OUTSIDE", "1")
    open_pipeline(load_manifest(model)).close()


@pytest.mark.parametrize("place", [1, 3])
def test_the_command_s_consent_holds_for_its_processes_too(
    model: Path, place: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the environment, which adcp replay's nodes inherit; the option may stand at the end as well."""
    from ad_compressed_perception.cli.main import main

    linked(model, model.parent / "elsewhere")
    monkeypatch.setenv("ADCP_ALLOW_OUTSIDE", "")
    arguments = ["adcp", "inspect", str(model)]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "allow_outside of the node or the command" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", [*arguments[:place], "--allow-outside", *arguments[place:]])
    with pytest.raises(SystemExit, match="0"):
        main()
    assert os.environ["ADCP_ALLOW_OUTSIDE"] == "1"


def test_the_manifest_cannot_consent_for_itself(model: Path) -> None:
    for key in ("allow_outside", "_confined_to"):
        path = model / "model.yaml"
        before = path.read_text()
        path.write_text(f"{key}: true\n{before}")
        with pytest.raises(ManifestError, match=f"unknown key '{key}'"):
            load_manifest(model)
        path.write_text(before)


def test_links_and_subfolders_inside_are_the_model_s_own(model: Path, tmp_path: Path) -> None:
    """A link in the folder, a folder in it, a path that returns, a linked folder, links to each file."""
    (model / "files").mkdir()
    os.replace(model / "fp32.onnx", model / "files" / "data.onnx")
    (model / "fp32.onnx").symlink_to("files/data.onnx")
    for file in ("fp32.onnx", "files/data.onnx", "files/../fp32.onnx", str(model / "fp32.onnx")):
        load_manifest(enter(model, file=file)).checked_path("fp32")
    enter(model, file="files/data.onnx")
    (tmp_path / "link").symlink_to(model)
    load_manifest(tmp_path / "link").checked_path("fp32")
    # As colcon build --symlink-install lays a package out.
    (tmp_path / "installed" / "files").mkdir(parents=True)
    for name in ("model.yaml", "files/data.onnx"):
        (tmp_path / "installed" / name).symlink_to(model / name)
    load_manifest(tmp_path / "installed").checked_path("fp32")


def test_the_manifests_of_this_package_need_no_consent() -> None:
    """They name the reference models by a variable; whoever can change them can change the package."""
    folder = config_folder("reference_models")
    assert folder is not None
    for path in sorted(folder.iterdir()):
        manifest = load_manifest(path)
        try:
            manifest.checked_path(manifest.baseline)
        except ModelFileError as error:  # where there are no reference models
            assert "is missing" in str(error)


def test_a_missing_reference_model_names_the_variable_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed before: the line named a path inside the installed package, where nobody would put the file."""
    folder = config_folder("reference_models")
    assert folder is not None
    monkeypatch.setenv("AD_SHARED", str(tmp_path))
    manifest = load_manifest(folder / "yolox_nano")
    with pytest.raises(ModelFileError, match="is missing: .*yolox_nano.onnx; .* variable AD_SHARED"):
        manifest.checked_path(manifest.baseline)


@pytest.mark.parametrize("location", ["../elsewhere/weights", "ABSOLUTE", "linked"])
@pytest.mark.parametrize("suffix", [".onnx", ".pb"])
def test_external_weights_outside_are_refused(model: Path, location: str, suffix: str) -> None:
    """Whatever the ONNX file is called; ``location`` is what a traversal puts there."""
    outside = model.parent / "elsewhere" / "weights"
    tensor = numpy_helper.from_array(np.ones(64, np.float32), "w")
    outside.write_bytes(tensor.raw_data)
    (model / "linked").symlink_to(outside)
    graph = onnx.load(model / "fp32.onnx")
    external_data_helper.set_external_data(tensor, str(outside) if location == "ABSOLUTE" else location)
    tensor.ClearField("raw_data")
    graph.graph.initializer.append(tensor)
    path = model / f"outside{suffix}"
    path.write_bytes(graph.SerializeToString())
    enter(model, file=path.name, sha256=file_sha256(path))
    with pytest.raises(ModelFileError, match="outside of the model's folder"):
        load_manifest(model).checked_path("fp32")
    # Nor without a manifest, as adcp import and adcp inspect read a file.
    with pytest.raises(ModelFileError, match="external data"):
        read_model(path)
    for backend in ("onnxruntime", "openvino"):
        if create_backend(backend).status().available:
            with pytest.raises(BackendError, match="outside"):
                create_backend(backend).load(path, {})


def test_a_packed_model_names_no_other_file(model: Path) -> None:
    """Its graph is written to a temporary folder, where the runtime would look for the file."""
    graph = onnx.load(model / "fp32.onnx")
    pack(graph, model / "fp32.adcpz")
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    graph.graph.initializer.append(tensor)
    rewrite_graph(model / "fp32.adcpz", graph)
    with pytest.raises(ModelFileError, match="weights in another file"):
        expand(model / "fp32.adcpz")


def rewrite_graph(packed: Path, graph: onnx.ModelProto) -> None:
    """Exchange the graph of a packed file, with the hash in its index."""
    import hashlib
    import json
    import zipfile

    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["graph.onnx"] = graph.SerializeToString()
    index = json.loads(members["index.json"])
    index["graph_sha256"] = hashlib.sha256(members["graph.onnx"]).hexdigest()
    members["index.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_engines_of_an_ep_context_are_files_of_the_model(tmp_path: Path) -> None:
    """An engine that is embedded in the ONNX file is none."""
    for mode, expected in ((0, {"model_engine.bin"}), (1, set())):
        node = helper.make_node(
            "EPContext",
            [],
            ["y"],
            embed_mode=mode,
            ep_cache_context="model_engine.bin",
            domain="com.microsoft",
        )
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
        onnx.save(helper.make_model(helper.make_graph([node], "g", [], [output])), tmp_path / "model.onnx")
        (tmp_path / "model_engine.bin").write_bytes(b"engine")
        assert further_files(tmp_path / "model.onnx") == expected


@pytest.mark.parametrize("option", ["cache_dir", "trt_engine_cache"])
def test_a_manifest_writes_caches_only_into_its_folder_and_the_user_s_cache(
    model: Path, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def check(value: str, **consent: bool) -> Manifest:
        manifest = load_manifest(enter(model, options={option: value}), **consent)
        manifest.checked_path("fp32")
        return manifest

    for value in ("detector", str(model / "cache"), str(tmp_path / "cache" / "adcp" / "detector")):
        check(value)
    for value in ("../../other", str(tmp_path / "other"), "~/other"):
        with pytest.raises(ModelFileError, match=f"{option} of tiny_detector/fp32 lies outside"):
            check(value)
        check(value, allow_outside=True)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_is_loaded_are_the_bytes_whose_hash_was_checked(model: Path, backend: str) -> None:
    """Failed before: the file was hashed, then opened again; another one in between was run."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    writers: dict[str, Callable[[onnx.ModelProto, Path], object]] = {".onnx": onnx.save, ".adcpz": pack}
    for suffix, write in writers.items():
        path = model / f"fp32{suffix}"
        write(onnx.load(model / "fp32.onnx"), path)
        load_manifest(enter(model, file=path.name, sha256=file_sha256(path))).checked_path("fp32")
        checked = file_sha256(path)
        create_backend(backend).load_checked(path, {}, checked).close()
        other = onnx.load(model / "fp32.onnx")
        other.producer_name = f"exchanged {suffix}"
        write(other, path)
        with pytest.raises((BackendError, ModelFileError), match="changed while it was loaded"):
            create_backend(backend).load_checked(path, {}, checked)
