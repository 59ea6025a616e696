# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The bill of materials has what the package needs to run, and no tool of development."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from support.packaging import REPOSITORY

TOOL = shutil.which("cyclonedx-py", path=f"{sys.prefix}/sbom/bin") or shutil.which("cyclonedx-py")


@pytest.mark.slow
@pytest.mark.skipif(TOOL is None, reason="cyclonedx-py is not installed: make sbom installs it")
def test_the_bill_of_materials_lists_what_runs(tmp_path: Path, setup_arguments: dict[str, Any]) -> None:
    output = tmp_path / "sbom.cdx.json"
    command = [sys.executable, str(REPOSITORY / "dev" / "sbom.py"), str(TOOL), str(output)]
    subprocess.run(command, check=True, cwd=REPOSITORY)
    document = json.loads(output.read_text("utf-8"))

    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "ad_compressed_perception"
    found = {re.sub(r"[-_.]+", "-", part["name"]).lower(): part for part in document["components"]}
    direct = {re.split(r"[^A-Za-z0-9._-]", line)[0] for line in setup_arguments["install_requires"]}
    assert direct <= found.keys()
    for name in ("numpy", "onnxruntime", "opencv-python-headless", "pydantic"):
        assert found[name]["version"] == version(name)
        assert found[name]["purl"].startswith(f"pkg:pypi/{name}@")
    assert "pydantic-core" in found  # required by what is required
    assert not {"pytest", "mypy", "ruff", "hypothesis", "torch"} & found.keys()
    # Every component can be reached from this package, and no reference points to what was left out.
    depends = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    reached, open_ends = set(), [document["metadata"]["component"]["bom-ref"]]
    while open_ends:
        reference = open_ends.pop()
        if reference not in reached:
            reached.add(reference)
            open_ends += depends[reference]
    assert reached == depends.keys() >= {part["bom-ref"] for part in document["components"]}
    assert "file:///" not in json.dumps(document["metadata"]["component"])
