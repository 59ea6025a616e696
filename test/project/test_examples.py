# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Every folder of examples/ does what its README says, on tiny models; the decoder has a file of its own."""

from __future__ import annotations

import importlib.util
import zipfile
from contextlib import closing
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

import ad_compressed_perception as adcp
from ad_compressed_perception.core.errors import RecipeError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.tasks.pipeline import open_pipeline
from support.compression import write_images, write_recipe
from support.examples import EXAMPLES, registered
from support.models import draw_scene, write_detector, write_segmenter

if not EXAMPLES.is_dir():
    pytest.skip("no examples beside the tests", allow_module_level=True)


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_a_readme_and_is_run_here() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == {"custom_backend", "custom_decoder", "custom_pass", "node_around_it", "python_use"}
    assert all((EXAMPLES / folder / "README.md").is_file() for folder in folders)


def test_the_backend_computes_what_onnx_runtime_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An independent implementation: equal masks, as the tiny segmenter's colors are far from its limits."""
    folder = write_segmenter(tmp_path / "model")
    with registered("custom_backend", tmp_path / "installed", monkeypatch):
        with adcp.load(folder) as usual, adcp.load(folder, backend="onnx_reference") as reference:
            assert (usual.info.backend, reference.info.backend) == ("onnxruntime", "onnx_reference")
            image = draw_scene(3)
            np.testing.assert_array_equal(usual(image).label_ids, reference(image).label_ids)
        with pytest.raises(adcp.AdcpError, match=r"onnx_reference.*unknown key 'threads'") as refused:
            adcp.load(folder, backend="onnx_reference", options={"threads": 2})
        assert "\n" not in str(refused.value)
        broken = tmp_path / "broken.onnx"
        broken.write_bytes(b"no model")
        from ad_compressed_perception.backends import create_backend

        with pytest.raises(adcp.AdcpError, match="onnx_reference cannot load"):
            create_backend("onnx_reference").load(broken, {})


def test_the_pass_rounds_weights_that_then_zip_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, images = write_segmenter(tmp_path / "model"), write_images(tmp_path / "images", 60)
    with registered("custom_pass", tmp_path / "installed", monkeypatch):
        result = adcp.compress(folder, EXAMPLES / "custom_pass" / "rounded.yaml", images, work=tmp_path)
        assert result.verdict.status == "accepted", result.verdict
        rounding = next(one for one in result.passes if one.name == "round_mantissa")
        assert rounding.notes["weights_rounded"] > 0
        wrong = write_recipe(tmp_path / "wrong.yaml", passes=[{"round_mantissa": {"bits": 24}}])
        with pytest.raises(RecipeError, match="bits"):
            adcp.compress(folder, wrong, images, work=tmp_path)

        from round_mantissa import rounded

        values = np.random.default_rng(0).normal(size=4096).astype(np.float32)
        for bits in (0, 6, 22):
            error = np.abs(rounded(values, bits) / values - 1.0).max()
            assert error <= 2.0 ** -(bits + 1) * (1 + 1e-6), bits
        np.testing.assert_array_equal(rounded(values, 23), values)
        special = np.array([np.nan, np.inf, -np.inf, 0.0], np.float32)
        np.testing.assert_array_equal(rounded(special, 6), special)
        assert zipped(rounded(values, 6), tmp_path) < 0.6 * zipped(values, tmp_path)


def zipped(values: np.ndarray, folder: Path) -> int:
    path = folder / "values.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("values", values.tobytes())
    return path.stat().st_size


def test_the_scripts_find_objects_and_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, images = write_detector(tmp_path / "model"), write_images(tmp_path / "images", 160)
    judge = module_of(EXAMPLES / "python_use" / "judge.py")
    recipe = write_recipe(tmp_path / "recipe.yaml", calibration={"frames": 8}, verify={"frames": 60})
    find = module_of(EXAMPLES / "python_use" / "find_objects.py")
    image = str(next(images.iterdir()))

    # Before there is a variant, it says so in one line.
    assert find.main(str(model), image) == 1
    assert "has no accepted variant" in capsys.readouterr().err

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        status = judge.main(str(model), str(images), str(recipe))
        shown = capsys.readouterr()
        assert status == 0, shown
        assert "small: accepted" in shown.out and "on 160 frames" in shown.out
        assert find.main(str(model), image) == 0
        assert f"{image}: " in capsys.readouterr().out
        assert find.main(str(model), str(tmp_path / "none.png")) == 1
        error = capsys.readouterr().err
        assert "cv2.imread" in error and error.count("\n") == 1


@pytest.mark.ros
def test_the_node_counts_the_objects_of_real_messages(tmp_path: Path, ros_context: object) -> None:
    rclpy = pytest.importorskip("rclpy")
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from sensor_msgs.msg import Image
    from std_msgs.msg import UInt32

    folder = write_detector(tmp_path / "model")
    with closing(open_pipeline(load_manifest(folder))) as pipeline:
        from ad_compressed_perception.image.decode import Frame

        expected = len(pipeline.run(Frame(draw_scene(0), "BGR"))[0].scores)
    assert expected > 0
    node = module_of(EXAMPLES / "node_around_it" / "object_counter.py").ObjectCounter(
        context=ros_context,
        parameter_overrides=[Parameter("model", value=str(folder)), Parameter("variant", value="fp32")],
    )
    driver = rclpy.create_node("driver", context=ros_context)
    counts: list[int] = []
    driver.create_subscription(UInt32, "count", lambda message: counts.append(message.data), 10)
    publisher = driver.create_publisher(
        Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    executor = SingleThreadedExecutor(context=ros_context)
    executor.add_node(node)
    executor.add_node(driver)
    rgb = cv2.cvtColor(draw_scene(0), cv2.COLOR_BGR2RGB)
    height, width = rgb.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=rgb.tobytes())
    damaged = Image(height=height, width=width, encoding="rgb8", step=3 * width, data=b"short")
    try:
        for _ in range(600):
            publisher.publish(damaged)  # fails its frame and not the node
            publisher.publish(message)
            executor.spin_once(timeout_sec=0.05)
            if counts:
                break
        assert counts and set(counts) == {expected}
    finally:
        executor.shutdown()
        node.destroy_node()
        driver.destroy_node()
