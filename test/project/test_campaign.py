# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The short form of ``make campaign``: few mutants of every kind, of one seed, and none causes a fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SEED = 12


def campaign(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dev.campaign", "--seed", str(SEED), "--out", str(out), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_mutants_are_used_or_refused_in_one_line(tmp_path: Path) -> None:
    """Of about as many, 10 ended in a traceback, a hang or a crash before these limits."""
    done = campaign(tmp_path, "--short", "--workers", "2", "--minutes", "12")
    assert done.returncode == 0, done.stdout + done.stderr
    sections = {one["section"]: one for one in json.loads((tmp_path / "campaign.json").read_text())}
    assert set(sections) == {"manifests", "recipes", "models", "images", "bags"}
    for one in sections.values():
        # Were all refused, the mutants would test the first check only.
        assert one["outcomes"].keys() - {"refused"} and one["outcomes"]["refused"], one
    assert f"seed {SEED}" in done.stdout


def test_a_hang_a_crash_and_a_traceback_are_counted_and_kept(tmp_path: Path) -> None:
    """The campaign itself can fail: a section of its own commits every fault once."""
    done = campaign(tmp_path, "--section", "self_check", "--count", "5", "--workers", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    (result,) = json.loads((tmp_path / "campaign.json").read_text())
    assert result["outcomes"] == {"worked": 1, "hang": 1, "crash": 1, "traceback": 1, "bad line": 1}
    kept = [Path(failure["folder"]) for failure in result["failures"]]
    assert len(kept) == 4
    assert all((folder / "input").read_text() == "input" for folder in kept)
    assert "--section self_check --seed 12 --case 1" in done.stdout
