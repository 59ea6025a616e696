# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Plots: drawn where there is data, left out where there is none, whatever the numbers are."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from ad_compressed_perception.analysis.plots.replay_plots import write_plots
from ad_compressed_perception.core.results import Detections, LabelMask, Trajectory
from ad_compressed_perception.core.timing import STAGES, FrameTiming
from ad_compressed_perception.metrics.agreement import agreement
from ad_compressed_perception.report.series import AGREEMENT_AXES, TaskSeries

START_NS = 1_479_425_491_000_000_000


def timing(index: int, infer_ms: float, **stages_ms: float) -> FrameTiming:
    stages = dict.fromkeys(STAGES, 1.0) | {"infer": infer_ms} | stages_ms
    return FrameTiming(START_NS + index * 50_000_000, "processed", stages, sum(stages.values()))


def series(frames: int = 30, **stages_ms: float) -> TaskSeries:
    timings = {
        "baseline": [timing(index, 20.0 + index % 7, **stages_ms) for index in range(frames)],
        "int8": [timing(index, 10.0 + index % 5, **stages_ms) for index in range(frames)],
    }
    values = [(each.stamp_ns, 0.5 + 0.5 * math.sin(each.stamp_ns)) for each in timings["int8"]]
    return TaskSeries(timings, {"int8": values}, AGREEMENT_AXES["detection"])


def is_an_image(path: Path) -> bool:
    """Whether a PNG is there, wide enough to read, and not a blank page."""
    image = cv2.imread(str(path))
    return bool(image is not None and image.shape[1] > 800 and image.std() > 5.0)


def test_three_plots_for_three_tasks(tmp_path: Path) -> None:
    every = {task: series() for task in ("detection", "segmentation", "planning")}
    written = write_plots(every, tmp_path)
    assert [path.name for path in written] == ["latency.png", "stages.png", "agreement.png"]
    assert all(is_an_image(path) for path in written)
    # A row a task: three tasks make a higher image than one.
    three = cv2.imread(str(tmp_path / "latency.png")).shape[0]
    write_plots({"detection": series()}, tmp_path)
    assert cv2.imread(str(tmp_path / "latency.png")).shape[0] < three


def test_the_times_of_a_model_with_several_heads_are_drawn_once(tmp_path: Path) -> None:
    """Each head has an agreement of its own, all of them one inference."""
    heads = {"multi_task.objects": series(), "multi_task.surface": series()}
    write_plots(heads, tmp_path / "heads")
    write_plots({"detection": series()}, tmp_path / "one")
    heights = {
        (folder, name): cv2.imread(str(tmp_path / folder / f"{name}.png")).shape[0]
        for folder in ("heads", "one")
        for name in ("latency", "agreement")
    }
    assert heights["heads", "latency"] == heights["one", "latency"]
    assert heights["heads", "agreement"] > heights["one", "agreement"]


def test_nothing_to_compare_is_no_agreement_plot(tmp_path: Path) -> None:
    alone = TaskSeries({"baseline": [timing(0, 5.0)]}, {}, AGREEMENT_AXES["planning"])
    assert [path.name for path in write_plots({"planning": alone}, tmp_path)] == ["latency.png", "stages.png"]


def test_no_processed_frame_is_no_plot(tmp_path: Path) -> None:
    failed = FrameTiming(START_NS, "failed", {"queue_wait": 0.1}, reason="truncated JPEG")
    none = TaskSeries({"baseline": [failed]}, {}, AGREEMENT_AXES["detection"])
    assert write_plots({"detection": none}, tmp_path) == []
    assert write_plots({}, tmp_path) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("frames", [1, 2, 40])
def test_negative_ages_equal_times_and_nan_are_drawn_without_a_warning(tmp_path: Path, frames: int) -> None:
    odd = series(frames, transport_age=-30.0, infer=7.0)
    odd.agreement["int8"] = [(stamp, math.nan) for stamp, _ in odd.agreement["int8"]]
    assert len(write_plots({"segmentation": odd}, tmp_path)) == 3


def test_stage_values_leave_out_frames_without_a_result() -> None:
    one = series(3)
    one.timings["int8"].append(FrameTiming(START_NS, "dropped_busy", {"transport_age": 2.0}))
    one.timings["int8"].append(FrameTiming(START_NS, "processed", {"infer": 3.0}))  # its age is unknown
    assert one.stage_ms("int8", "infer") == [10.0, 11.0, 12.0, 3.0]
    assert len(one.stage_ms("int8", "end_to_end")) == 3
    assert one.first_stamp_ns == START_NS


def test_every_task_has_an_agreement_to_draw() -> None:
    none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), ("car",))
    mask = LabelMask(np.zeros((4, 4), np.uint8), ("background",))
    straight = Trajectory(np.array([[1.0, 0.0], [2.0, 0.0]]), np.zeros(2), 0.0, 1.0)
    for task, result in (("detection", none), ("segmentation", mask), ("planning", straight)):
        axis = AGREEMENT_AXES[task]
        # A result agrees perfectly with itself.
        assert axis.value(agreement(result, result)) == axis.best
