# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of the backend ``tensorrt``, against a stand-in of TensorRT: nothing here ran on a device."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
from onnx import helper

from ad_compressed_perception.backends import create_backend, tensorrt_backend, tensorrt_engine
from ad_compressed_perception.backends.base import Session
from ad_compressed_perception.backends.compiled_cache import INDEX_NAME
from ad_compressed_perception.backends.device_run import main, record_path
from ad_compressed_perception.core.errors import BackendError
from support.onnx_files import feed, save_model, write_int8, write_two_convolutions
from support.tensorrt_stand_in import Device, install


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Device()
    install(monkeypatch, made)
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_two_convolutions(tmp_path / "model.onnx")


def load(model: Path, **options: Any) -> Session:
    return create_backend("tensorrt").load(model, options)


@pytest.mark.parametrize("version", ["10.9.0", "11.4.1"])
def test_both_versions_build_what_the_file_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, version: str
) -> None:
    """In 11 flags of precision are gone, and any use of one would be an AttributeError here."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    device = Device(version=version)
    install(monkeypatch, device)
    session = load(model)
    reference = create_backend("onnxruntime").load(model, {}).infer({"x": feed()})["y"]

    np.testing.assert_allclose(session.infer({"x": feed()})["y"], reference, atol=1e-5)
    info = session.info
    assert (info.version, info.provider, info.requested_provider) == (version, "Orin 8.7", "Orin 8.7")
    assert (info.precision, info.integer_coverage) == ("fp32", 0.0)
    # Strongly typed; fp32 that is rounded to TensorFloat-32 would be called fp32.
    assert (device.seen["flags"], device.seen["cleared"], "set" in device.seen) == (2, ["TF32"], False)
    int8 = load(write_int8(model, tmp_path / "int8.onnx"))
    assert (int8.info.precision, int8.info.integer_coverage) == ("int8", 1.0)
    assert sum(layer.is_integer for layer in int8.layers()) == 2


def test_an_engine_is_built_once_and_for_each_part_of_its_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, model: Path, device: Device
) -> None:
    load(model).close()
    load(model).close()
    assert device.builds == 1
    other = write_two_convolutions(tmp_path / "other.onnx", denormals=1)
    for builds, (path, change, options) in enumerate(
        (
            (other, {}, {}),
            (model, {"version": "10.10.0"}, {}),
            (model, {"name": "Thor"}, {}),
            (model, {"capability": (11, 0)}, {}),
            (model, {}, {"max_batch": 2}),
        ),
        start=1,
    ):
        changed = replace(device, builds=0, **change)
        with monkeypatch.context() as patch:
            install(patch, changed)
            load(path, **options).close()
            assert changed.builds == 1, f"case {builds}: the engine of another one was taken"
            load(path, **options).close()
            assert changed.builds == 1
    load(model).close()
    assert device.builds == 1, "the first one is still there"


def flip_a_byte(plan: Path) -> None:
    content = bytearray(plan.read_bytes())
    content[len(content) // 2] ^= 0xFF
    plan.write_bytes(content)


def cut_short(plan: Path) -> None:
    plan.write_bytes(plan.read_bytes()[:40])


def lose_the_list(plan: Path) -> None:
    (plan.parent / INDEX_NAME).unlink()


def refuse(plan: Path) -> None:
    """Put a plan that is listed with its hash, and that TensorRT does not take, as of another driver."""
    import json

    from ad_compressed_perception.core.model_files import file_sha256

    plan.write_bytes(b"of another driver")
    index = json.loads((plan.parent / INDEX_NAME).read_text())
    index["files"][plan.name] = file_sha256(plan)
    (plan.parent / INDEX_NAME).write_text(json.dumps(index))


@pytest.mark.parametrize("damage", [flip_a_byte, cut_short, lose_the_list, refuse])
def test_a_plan_that_is_not_as_it_was_written_is_built_again(
    tmp_path: Path, model: Path, device: Device, damage: Any
) -> None:
    load(model).close()
    (plan,) = (tmp_path / "cache").rglob("engine.plan")
    damage(plan)
    session = load(model)
    assert device.builds == 2
    assert np.isfinite(session.infer({"x": feed()})["y"]).all()
    load(model).close()
    assert device.builds == 2, "the new one was kept"


def test_an_unknown_operator_is_named_with_its_node(tmp_path: Path, device: Device) -> None:
    path = tmp_path / "odd.onnx"
    save_model(
        path, [helper.make_node("Nonsense", ["x"], ["y"], "head/odd")], [], {"x": [1, 3]}, {"y": [1, 3]}
    )
    with pytest.raises(BackendError, match=r"odd.onnx: node 'head/odd' \(Nonsense\): no importer"):
        load(path)
    assert not device.allocations
    assert device.streams == 0


def test_a_failed_build_names_the_node_and_keeps_nothing(tmp_path: Path, model: Path, device: Device) -> None:
    device.fails = "second"
    with pytest.raises(BackendError, match="Could not find any implementation for node second"):
        load(model)
    assert not list((tmp_path / "cache").rglob("engine.plan"))
    assert not device.allocations
    assert device.streams == 0
    device.fails = ""
    load(model).close()


def test_closing_frees_the_device_s_memory(model: Path, device: Device) -> None:
    for _ in range(100):
        session = load(model)
        session.infer({"x": feed()})
        assert len(device.allocations) == 2  # the input and the output
        session.close()
        session.close()
    assert not device.allocations
    assert device.streams == 0


def test_a_dynamic_batch_has_a_profile_and_a_limit(tmp_path: Path, device: Device) -> None:
    path = write_two_convolutions(tmp_path / "dynamic.onnx", batch="n")
    session = load(path, max_batch=2)
    assert device.seen["profile"] == {"x": ((1, 3, 16, 16), (1, 3, 16, 16), (2, 3, 16, 16))}
    two = session.infer({"x": np.repeat(feed(), 2, axis=0)})["y"]
    assert two.shape == (2, 4, 16, 16)
    with pytest.raises(BackendError, match="larger than max_batch"):
        session.infer({"x": np.repeat(feed(), 3, axis=0)})


def test_dynamic_image_sizes_are_refused(tmp_path: Path, device: Device) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    path = save_model(tmp_path / "any.onnx", [node], [], {"x": [1, 3, "h", "w"]}, {"y": [1, 3, "h", "w"]})
    with pytest.raises(BackendError, match="'x' of any.onnx has dynamic sizes beyond the batch"):
        load(path)


def test_other_threads_go_on_while_an_engine_is_built_and_the_log_says_how_far_it_is(
    model: Path, device: Device, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The node loads in a thread of its own; nothing here may hold what its heartbeat waits for."""
    monkeypatch.setattr(tensorrt_engine, "_LINE_PERIOD_S", 0.0)
    is_building, goes_on = Event(), Event()

    def build() -> None:
        is_building.set()
        assert goes_on.wait(60.0)

    device.while_building = build
    made: list[Session] = []
    loader = Thread(target=lambda: made.append(load(model)))
    with caplog.at_level(logging.WARNING):
        loader.start()
        assert is_building.wait(60.0)
        # A second load of the same model does not wait for the first one: it builds without the cache.
        device.while_building = None
        load(model).close()
        goes_on.set()
        loader.join(60.0)
    assert len(made) == 1
    assert "TensorRT builds the engine of model.onnx for 0 s: Building engine, step 1 of 2" in caplog.text


def test_what_the_inspector_does_not_say_is_unknown(
    model: Path, device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fused parts ("Myelin") do not say what they compute in; it must not look like fp32 or int8."""
    from support import tensorrt_stand_in

    inspector = tensorrt_stand_in._Engine.create_engine_inspector

    def fused(self: Any) -> Any:
        text = inspector(self).get_engine_information("json").replace("CaskConvolution", "Myelin", 1)
        return type("Inspector", (), {"get_engine_information": lambda self, form: text})()

    monkeypatch.setattr(tensorrt_stand_in._Engine, "create_engine_inspector", fused)
    assert (load(model).info.precision, load(model).info.integer_coverage) == ("unknown", None)
    silent = type("Inspector", (), {"get_engine_information": lambda self, form: "a version of its own"})
    monkeypatch.setattr(tensorrt_stand_in._Engine, "create_engine_inspector", lambda self: silent())
    session = load(model)
    assert session.info.precision == "unknown"
    with pytest.raises(BackendError, match="inspector"):
        session.layers()


def test_it_is_not_verified_until_a_run_on_this_device_agreed(
    model: Path, device: Device, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = create_backend("tensorrt")
    assert backend.status().available
    assert backend.status().detail.startswith("not verified on a device: python -m")
    device.runs_right = False
    assert main(["tensorrt", str(model)]) == 1
    assert "does not compute 'y' of model.onnx as the CPU does" in capsys.readouterr().err
    assert backend.status().detail.startswith("not verified")
    device.runs_right = True
    assert main(["tensorrt", str(model)]) == 0
    assert backend.status().detail.startswith("verified on Orin 8.7 at 20")
    with monkeypatch.context() as patch:
        install(patch, replace(device, version="10.10.0"))
        assert backend.status().detail.startswith("not verified")
    record_path("tensorrt").write_text("{}")
    assert backend.status().detail.startswith("not verified")


@pytest.mark.parametrize("place", [0, 1])
def test_not_a_number_in_any_output_is_no_run_that_agreed(
    tmp_path: Path, device: Device, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Failed before for the second output: the least of 1.0 and NaN, in this order, is 1.0."""
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
    shape: list[int | str] = [1, 3, 4, 4]
    model = save_model(tmp_path / "two.onnx", nodes, [], {"x": shape}, {"a": shape, "b": shape})
    infer = tensorrt_backend.TensorRtSession.infer

    def spoiled(self: Any, feeds: Any) -> Any:
        outputs = infer(self, feeds)
        outputs["ab"[place]][...] = np.nan
        return outputs

    monkeypatch.setattr(tensorrt_backend.TensorRtSession, "infer", spoiled)
    assert main(["tensorrt", str(model)]) == 1
    assert not record_path("tensorrt").exists()


def test_without_tensorrt_the_line_names_the_extra(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert "[tensorrt]" in create_backend("tensorrt").status().detail
    with pytest.raises(BackendError, match=r"\[tensorrt\]"):
        load(model)


@pytest.mark.parametrize("batch", [1, "n"])
def test_wrong_feeds_are_refused(tmp_path: Path, device: Device, batch: Any) -> None:
    session = load(write_two_convolutions(tmp_path / "model.onnx", batch=batch))
    for wrong in ({}, {"x": feed().astype(np.float64)}, {"x": feed()[:, :2]}):
        with pytest.raises(BackendError, match="given"):
            session.infer(wrong)
    assert os.environ["XDG_CACHE_HOME"]
