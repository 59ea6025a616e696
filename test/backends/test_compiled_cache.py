# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Compiled models that a runtime keeps are loaded only as they were written, from a private folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.base import zero_feeds
from ad_compressed_perception.backends.compiled_cache import INDEX_NAME, compiled_cache
from ad_compressed_perception.backends.onnxruntime_options import OnnxRuntimeOptions
from ad_compressed_perception.backends.onnxruntime_providers import PROVIDERS, provider_chain
from ad_compressed_perception.core.errors import BackendError
from support.models import write_detector


def load(model: Path, cache: Path) -> tuple[bool, Any]:
    """Return whether OpenVINO took the compiled model from the cache, and the outputs on zeros."""
    session = create_backend("openvino").load(model / "fp32.onnx", {"cache_dir": str(cache)})
    outputs = session.infer(zero_feeds(session.info.inputs))
    return bool(session._compiled.get_property("LOADED_FROM_CACHE")), outputs["output"]  # type: ignore[attr-defined]


def flip_a_byte(blob: Path) -> None:
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.write_bytes(content)


def exchange(blob: Path) -> None:
    """Put a blob of the right name in place of the listed one, and take the list away."""
    flip_a_byte(blob)
    (blob.parent / INDEX_NAME).unlink()


def link(blob: Path) -> None:
    os.replace(blob, blob.parent.parent / "elsewhere.blob")
    blob.symlink_to(blob.parent.parent / "elsewhere.blob")


def damage_the_list(blob: Path) -> None:
    (blob.parent / INDEX_NAME).write_text('{"schema": "adcp-cache/1", "files": [1')


@pytest.mark.parametrize("tamper", [flip_a_byte, exchange, link, damage_the_list])
def test_a_compiled_model_that_is_not_as_it_was_written_is_compiled_anew(
    tmp_path: Path, tamper: Callable[[Path], None]
) -> None:
    """Failed before: OpenVINO loads a blob with a changed byte (LOADED_FROM_CACHE) and runs it."""
    pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    model, cache = write_detector(tmp_path / "model"), tmp_path / "cache"
    first, expected = load(model, cache)
    again, same = load(model, cache)
    assert (first, again) == (False, True)
    assert np.array_equal(expected, same)

    (blob,) = cache.rglob("*.blob")
    assert blob.parent.stat().st_mode & 0o777 == 0o700
    tamper(blob)
    from_cache, outputs = load(model, cache)
    assert not from_cache
    assert np.array_equal(expected, outputs)
    assert load(model, cache)[0]  # the new one is listed


def one_file(folder: Path) -> Path:
    """Write a model that consists of one file; nothing here parses it."""
    path = folder / "model.tflite"
    path.write_text("model")
    return path


def test_weights_in_another_file_are_part_of_the_model(tmp_path: Path) -> None:
    """The runtime's own name of an engine may not depend on them."""
    openvino = pytest.importorskip("openvino", reason="the extra [openvino] is not installed")
    source = write_detector(tmp_path / "model") / "fp32.onnx"
    openvino.save_model(openvino.Core().read_model(str(source)), str(tmp_path / "fp32.xml"))
    folders = []
    for _ in range(2):
        with compiled_cache(str(tmp_path / "cache"), tmp_path / "fp32.xml", "r") as folder:
            folders.append(folder)
        flip_a_byte(tmp_path / "fp32.bin")
    assert folders[0] != folders[1]


def test_another_model_version_or_device_has_a_folder_of_its_own(tmp_path: Path) -> None:
    a, b = (write_detector(tmp_path / str(opset), opset=opset) / "fp32.onnx" for opset in (13, 14))
    keys = [(a, "r", "1", "CPU"), (b, "r", "1", "CPU"), (a, "r", "2", "CPU"), (a, "r", "1", "GPU")]
    folders = set()
    for model, *key in keys:
        with compiled_cache(str(tmp_path / "cache"), model, *key) as folder:
            assert folder is not None
            (folder / "engine").write_text("x")
            folders.add(folder)
    assert len(folders) == len(keys)


def test_only_files_of_loads_that_succeeded_are_kept(tmp_path: Path) -> None:
    """Whatever their names and folders, as TensorRT and GPU plug-ins choose them."""
    key = (str(tmp_path / "cache"), one_file(tmp_path), "tensorrt")
    with compiled_cache(*key) as folder:
        assert folder is not None
        (folder / "kernels").mkdir()
        (folder / "kernels" / "good.engine").write_text("x")
    with pytest.raises(ValueError, match="load failed"), compiled_cache(*key) as folder:
        (folder / "half.engine").write_text("x")
        raise ValueError("load failed")
    with compiled_cache(*key) as folder:
        kept = {path.name for path in folder.rglob("*") if path.is_file()}
    assert kept == {"good.engine", INDEX_NAME, "lock"}
    assert json.loads((folder / INDEX_NAME).read_text())["files"].keys() == {"kernels/good.engine"}


def test_a_second_load_at_the_same_time_does_without(tmp_path: Path) -> None:
    """Nothing waits: a load that hangs must not stop that of another node."""
    key = (str(tmp_path / "cache"), one_file(tmp_path), "r")
    with compiled_cache(*key) as first, compiled_cache(*key) as second:
        assert first is not None
        assert second is None


def test_a_folder_that_others_can_write_to_is_refused(tmp_path: Path) -> None:
    key = (str(tmp_path / "cache"), one_file(tmp_path), "r")
    with compiled_cache(*key) as own:
        assert own is not None
    for folder, mode in ((own, 0o770), (own, 0o707), (own.parent, 0o777)):
        before = folder.stat().st_mode
        folder.chmod(mode)
        with (
            pytest.raises(BackendError, match="what it holds is executed"),
            compiled_cache(*key),
        ):
            pass
        folder.chmod(before)
    own.rename(tmp_path / "moved")
    own.symlink_to(tmp_path / "moved")
    with pytest.raises(BackendError, match="only this user"), compiled_cache(*key):
        pass


def test_a_cache_that_cannot_be_made_gives_one_line(tmp_path: Path) -> None:
    model = one_file(tmp_path)
    with (
        pytest.raises(BackendError, match="cannot use the cache") as caught,
        compiled_cache(str(model), model, "r"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_relative_cache_lies_in_the_user_s_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with compiled_cache("detector", one_file(tmp_path), "r") as folder:
        assert folder is not None
        assert folder.parent == tmp_path / "adcp" / "detector"


def test_tensorrt_gets_the_private_folder_or_none(tmp_path: Path) -> None:
    """Of a build with TensorRT only the list of its providers is needed here; no engine is built."""

    class Build:
        @staticmethod
        def get_available_providers() -> list[str]:
            return list(PROVIDERS.values())

    options = OnnxRuntimeOptions(provider="tensorrt", trt_engine_cache=str(tmp_path))
    name, engine = provider_chain(Build, options, tmp_path / "private")[0]
    assert (name, engine["trt_engine_cache_path"]) == (PROVIDERS["tensorrt"], str(tmp_path / "private"))
    assert "trt_engine_cache_enable" not in provider_chain(Build, options, None)[0][1]
