# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The processes that the hot-path benchmark drives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ad_compressed_perception.report.schemas.host import Host
from support.json_schema import check_document

REPOSITORY = Path(__file__).parents[2]
if not (REPOSITORY / "benchmark" / "hot_path").is_dir():
    pytest.skip("no benchmarks beside the tests", allow_module_level=True)
pytest.importorskip("rclpy")
sys.path.insert(0, str(REPOSITORY))

from benchmark.hot_path.cells import Cell, default_model  # noqa: E402
from benchmark.hot_path.driver import Connection, Driver  # noqa: E402
from benchmark.hot_path.floor_apart import FloorApart  # noqa: E402
from benchmark.hot_path.frames import camera_frames  # noqa: E402
from benchmark.hot_path.measure import CellResult, Measured, Pace  # noqa: E402
from benchmark.hot_path.results_text import document, render  # noqa: E402
from benchmark.hot_path.targets import RosTarget, start_hop  # noqa: E402

pytestmark = pytest.mark.ros
FRAMES = camera_frames([np.full((48, 64, 3), shade, np.uint8) for shade in (10, 200)], "raw")


@pytest.fixture
def driver() -> Iterator[Driver]:
    driver = Driver()
    yield driver
    driver.close()


def test_a_target_that_does_not_start_is_a_problem_and_no_figure(driver: Driver, tmp_path: Path) -> None:
    """`python -m platform` prints one line and ends, like a node with a wrong parameter."""
    connection = Connection(driver, "gone", ["planning"], "raw", has_timing=False)
    target = RosTarget("node", [["platform"]], connection, tmp_path / "log")
    target.warm_up(FRAMES, 1)
    target.close()
    assert target.problem.startswith("did not start: Linux")
    measured = Measured(problem=target.problem)
    result = CellResult(
        Cell(), {"planning": "int8"}, {"floor": Measured(), "hop": Measured(), "node": measured}
    )
    assert target.problem in render([result], Pace(), "", "")
    written = json.loads(document([result], Pace(), "", Host()).to_json())
    check_document(written, "adcp-hot-path/1")
    shown = written["cells"][0]
    assert shown["targets"]["node"]["status"] == target.problem
    assert shown["ratios"]["node"]["floor + hop"]["p50"] is None


@pytest.mark.parametrize("name", ["hop", "hop_bytes"])
def test_the_empty_hop_answers_every_frame_with_its_stamp(name: str, driver: Driver, tmp_path: Path) -> None:
    """The answer is a serialized Path without poses; what is paired by stamp is complete and finite."""
    from nav_msgs.msg import Path as PathMessage
    from rclpy.serialization import serialize_message

    cell = Cell(image_format="raw")
    hop = start_hop(name, driver, cell, {"planning": serialize_message(PathMessage())}, tmp_path)
    try:
        hop.warm_up(FRAMES, 1)
        assert not hop.problem
        block = hop.run(FRAMES * 3, 10.0)
    finally:
        hop.close()
    assert len(block.latency_ms) == 6
    assert np.isfinite(block.latency_ms).any(), "best effort: a loaded machine may lose some, not all"
    assert min(block.latency_ms) > 0.0
    assert block.foreign == 0


def test_floors_side_by_side_answer_all_frames_and_a_process_that_ended_is_a_problem() -> None:
    """CPU time of two processes without a third would look like a saving."""
    floors = FloorApart([default_model("planning", "compressed")] * 2, FRAMES)
    try:
        block = floors.run(FRAMES * 2, 20.0)
        assert len(block.latency_ms) == 4
        assert np.isfinite(block.latency_ms).all()
        assert block.cores > 0.0
        assert not floors.problem
        process = floors._workers[0][0]
        process.kill()
        process.join()
        lost = floors.run(FRAMES, 20.0)
    finally:
        floors.close()
    assert floors.problem
    assert np.isnan(lost.cores)
