# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp drive`` from the shell: a report, only JSON on standard output, errors in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from ad_compressed_perception.cli import main
from support.drive import plan_vector, write_constant_planner
from support.json_schema import check_document
from support.models import write_detector, write_planner


@dataclass(frozen=True)
class CommandResult:
    """Exit status and output of a command."""

    status: int
    stdout: str
    stderr: str


Command = Callable[..., CommandResult]


@pytest.fixture
def adcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Return ``adcp drive`` in a folder of its own, by its real entry point."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> CommandResult:
        monkeypatch.setattr("sys.argv", ["adcp", "drive", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_of:
            main.main()
        out, err = capsys.readouterr()
        return CommandResult(int(exit_of.value.code or 0), out, err)

    return run


def one_line(result: CommandResult, named: str) -> None:
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.status == 1, result.stderr
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    assert named in lines[0]


def test_drive_prints_its_report_as_json(tmp_path: Path, adcp: Command) -> None:
    """Two identical variants: no difference, but one route has no interval and decides nothing."""
    straight = plan_vector(0.0)
    model = write_constant_planner(tmp_path / "model", {"fp32": straight, "twin": straight})
    common = ("--routes", 1, "--length", 200, "--latency", "none", "--jobs", 1)
    result = adcp(model, "--variants", "baseline,twin", *common, "--json")
    assert result.status == 0, result.stderr
    document = json.loads(result.stdout)  # nothing else on standard output
    check_document(document, "adcp-drive/1")
    assert list(document["variants"]) == ["fp32", "twin"]
    assert document["comparison"][0]["verdict"] == "undecided"
    assert document["comparison"][0]["differences"]["events"] == {"mean": 0.0, "low": None, "high": None}
    assert (tmp_path / "out" / "drive-constant" / "report.md").is_file()
    # Without --json a table is printed; the routes are in the journal and are not driven again.
    result = adcp(model, "--variants", "fp32,twin", *common)
    assert result.status == 0, result.stderr
    assert "twin against fp32: undecided" in result.stdout


def test_a_steering_only_planner_can_be_driven(tmp_path: Path, adcp: Command) -> None:
    """It keeps its cruise speed of 10 m/s and does not react to traffic."""
    model = write_planner(tmp_path / "model")
    common = ("--routes", 1, "--length", 200, "--traffic", 0, "--latency", 40, "--jobs", 1)
    result = adcp(model, *common, "--json")
    assert result.status == 0, result.stderr
    fp32 = json.loads(result.stdout)["variants"]["fp32"]
    assert fp32["latency_ms"]["p50"] == 40.0
    assert 8.0 < fp32["figures"]["mean_speed_mps"]["mean"] < 10.5


def test_errors_are_one_line(tmp_path: Path, adcp: Command) -> None:
    model = write_constant_planner(tmp_path / "model", {"fp32": plan_vector(0.0)})
    one_line(adcp(model, "--variants", "fp32,int4"), "int4")
    one_line(adcp(write_detector(tmp_path / "detector")), "'detection'")
    one_line(adcp(model, "--length", 5), "length_m")
    one_line(adcp(model, "--weather", "snow"), "snow")
    one_line(adcp(model, "--latency", "fp16=20"), "fp16")
