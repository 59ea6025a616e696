# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Write a software bill of materials (CycloneDX, JSON) of what this package needs to run.

cyclonedx-py describes every distribution of the environment; kept are this package, what it requires and
what those require in turn. Tools of development stay out, and so does ROS 2, which has its own.

Usage: ``python dev/sbom.py CYCLONEDX_PY OUTPUT [EXTRA ...]``; EXTRA adds the requirements of an extra.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PACKAGE = "ad_compressed_perception"


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def required(extras: frozenset[str]) -> dict[str, set[str]]:
    """Return each distribution that this package needs with the names of those which that one needs.

    Raises:
        SystemExit: one of them is not installed.
    """
    found: dict[str, set[str]] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    open_ends = [(PACKAGE, extras)]
    while open_ends:
        name, chosen = open_ends.pop()
        if (name, chosen) in seen:
            continue
        seen.add((name, chosen))
        try:
            requirements = [Requirement(line) for line in distribution(name).requires or []]
        except PackageNotFoundError:
            sys.exit(f"{name} is not installed, but required: run make setup")
        needed = found.setdefault(normalized(name), set())
        for requirement in requirements:
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *chosen}):
                needed.add(normalized(requirement.name))
                open_ends.append((normalized(requirement.name), frozenset(requirement.extras)))
    return found


def reduced(document: dict[str, Any], needs: dict[str, set[str]]) -> dict[str, Any]:
    """Return the document with the needed components only, and this package as what it describes."""
    components = {normalized(part["name"]): part for part in document["components"]}
    missing = sorted(needs.keys() - components.keys())
    if missing:
        sys.exit(f"not found in this environment: {', '.join(missing)}")
    kept = {name: components[name] for name in sorted(needs)}
    subject = kept.pop(normalized(PACKAGE))
    subject.pop("externalReferences", None)  # the path of this checkout
    subject["type"] = "application"
    references = {name: components[name]["bom-ref"] for name in needs}
    return {
        **document,
        "metadata": {**document["metadata"], "component": subject},
        "components": list(kept.values()),
        "dependencies": [
            {"ref": references[name], "dependsOn": sorted(references[other] for other in others)}
            for name, others in sorted(needs.items())
        ],
    }


def main(tool: str, output: str, *extras: str) -> None:
    """Write the file and print how many components it has."""
    needs = required(frozenset(extras))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "all.json"
        command = [tool, "environment", "--output-format", "JSON", "--output-file", str(path), sys.executable]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        document = reduced(json.loads(path.read_text("utf-8")), needs)
    Path(output).write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    print(f"{output}: {len(document['components'])} components that {PACKAGE} needs")


if __name__ == "__main__":
    main(*sys.argv[1:])
