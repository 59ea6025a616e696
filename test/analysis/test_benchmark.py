# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp benchmark``: interleaved order and paired ratios; no test asserts a duration."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import cv2
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ad_compressed_perception.analysis.benchmark import (
    noise_frames,
    parse_benchmark_variant,
    run_benchmark,
)
from ad_compressed_perception.analysis.paired_rounds import interleaved_order, paired_ratio
from ad_compressed_perception.cli import benchmark
from ad_compressed_perception.core.errors import BackendError, ManifestError
from ad_compressed_perception.core.manifest import Variant, Verdict, file_sha256, load_manifest
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import draw_scene, write_detector

app = typer.Typer()
app.command("benchmark")(benchmark.benchmark)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a detector with a second, rejected variant of the same file."""
    folder = write_detector(tmp_path / "detector")
    manifest = load_manifest(folder)
    manifest.variants["copy"] = Variant(
        file="fp32.onnx",
        sha256=file_sha256(folder / "fp32.onnx"),
        verdict=Verdict(status="rejected", reasons=["lost"]),
    )
    save_manifest(manifest, folder)
    return folder


@given(count=st.integers(1, 6))
def test_every_variant_runs_at_every_position_equally_often(count: int) -> None:
    rounds = [interleaved_order(count, turn) for turn in range(2 * count)]

    assert all(sorted(order) == list(range(count)) for order in rounds)
    for place in range(count):
        assert set(Counter(order[place] for order in rounds).values()) == {2}


def test_a_machine_that_slows_down_does_not_change_the_ratio() -> None:
    # The machine gets ten times slower meanwhile; the other variant takes half the time throughout.
    reference = [10.0 * (1 + 9 * turn / 99) for turn in range(100)]
    ratio = paired_ratio(reference, [value / 2 for value in reference])
    assert (ratio.value, ratio.low, ratio.high) == pytest.approx((2.0, 2.0, 2.0))


def test_variants_may_name_backend_and_options() -> None:
    found = parse_benchmark_variant("fp32@openvino:precision=bf16:threads=2")
    assert (found.name, found.backend) == ("fp32", "openvino")
    assert found.options == {"precision": "bf16", "threads": "2"}
    assert parse_benchmark_variant("int8").backend is None
    server = parse_benchmark_variant("fp32@remote:url=lab-pc:8001:model_name=detector")
    assert server.options == {"url": "lab-pc:8001", "model_name": "detector"}


@pytest.mark.parametrize("text", ["", "@openvino", "fp32@", "fp32:precision", "fp32:=1"])
def test_unreadable_variants_are_refused(text: str) -> None:
    with pytest.raises(BackendError, match="write VARIANT"):
        parse_benchmark_variant(text)


def test_noise_alone_times_the_inference_alone(model: Path) -> None:
    manifest = load_manifest(model)
    variants = [parse_benchmark_variant("copy"), parse_benchmark_variant("fp32")]

    result = run_benchmark(manifest, variants, rounds=6, warmup_rounds=1)

    # The baseline is the reference wherever it stands in the list.
    assert result.reference == "fp32"
    copy, fp32 = result.variants.values()
    assert set(copy.stages_ms) == {"infer"} == set(copy.speedup)
    assert fp32.speedup == {}
    assert copy.stages_ms["infer"].count == 6
    assert copy.verdict == "rejected"


def test_equal_variants_are_refused(model: Path) -> None:
    with pytest.raises(BackendError, match="different variants"):
        run_benchmark(
            load_manifest(model), [parse_benchmark_variant("fp32"), parse_benchmark_variant("fp32")]
        )


def test_noise_is_the_same_every_time(model: Path) -> None:
    manifest = load_manifest(model)
    one, other = noise_frames(manifest)[0], noise_frames(manifest)[0]
    assert one.pixels.shape == (64, 64, 3)
    assert (one.pixels == other.pixels).all()


def test_frames_are_timed_end_to_end(model: Path, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index in range(3):
        cv2.imwrite(str(frames / f"{index}.png"), draw_scene(index))

    arguments = [
        str(model),
        "--variants",
        "fp32,copy",
        "--iterations",
        "4",
        "--frames",
        str(frames),
        "--json",
    ]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)

    document = json.loads(result.stdout)
    assert document["schema"] == "adcp-benchmark/1"
    assert document["frames"] == 3
    assert set(document["variants"]["copy"]["stages_ms"]) == {"prepare", "infer", "post", "total"}
    assert set(document["variants"]["copy"]["speedup"]) == {"infer", "total"}
    assert document["host"]["logical_cores"] >= 1


def test_all_variants_by_default_and_a_table_with_verdicts(model: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--iterations", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "rejected" in result.stdout
    assert "reference" in result.stdout


def test_an_unknown_variant_is_named(model: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(model), "--variants", "fp32,none", "--work", str(tmp_path / "w")])
    assert isinstance(result.exception, ManifestError)
    assert "none" in str(result.exception)
