# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""package.xml, setup.py and the development set-up agree with the files of the repository."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from support.packaging import REPOSITORY

PACKAGE = "ad_compressed_perception"
PACKAGES = (PACKAGE, "ad_road_simulation")
# The module name where it differs from the key in package.xml.
KEYS = {
    "click": "python3-click",
    "cv2": "python3-opencv",
    "google": "python3-protobuf",
    "matplotlib": "python3-matplotlib",
    "numpy": "python3-numpy",
    "PIL": "python3-pil",
    "psutil": "python3-psutil",
    "pydantic": "python3-pydantic",
    "rich": "python3-rich",
    "typer": "python3-typer",
    "yaml": "python3-yaml",
}
# Modules that only pip installs, and the distribution in setup.py that contains each.
DISTRIBUTIONS = {
    "cv2": "opencv-python-headless",
    "faster_coco_eval": "faster-coco-eval",
    "google": "protobuf",
    "markdown_it": "markdown-it-py",
    "pydantic_core": "pydantic",
    "PIL": "pillow",
    "ai_edge_litert": "ai-edge-litert",
    "cuda": "cuda-python",
    "grpc": "grpcio",
    "onnxruntime_qnn": "onnxruntime-qnn",
    "ai_edge_quantizer": "ai-edge-quantizer",
    "litert_torch": "litert-torch",
    "torch_pruning": "torch-pruning",
    "yaml": "pyyaml",
}
# Optional: imported lazily, each in one place, never required.
OPTIONAL = {"tensorrt", "tf2_msgs"}


def manifest() -> ElementTree.Element:
    return ElementTree.parse(REPOSITORY / "package.xml").getroot()


def declared() -> set[str]:
    tags = ("depend", "exec_depend", "build_depend")
    return {(element.text or "").strip() for tag in tags for element in manifest().findall(tag)}


def imports(folder: str) -> dict[str, set[Path]]:
    """Return the top-level modules imported anywhere in `folder`, lazy ones included."""
    found: dict[str, set[Path]] = {}
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                found.setdefault(name.split(".")[0], set()).add(path.relative_to(REPOSITORY))
    return found


def distribution_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_.-]", word, maxsplit=1)[0].lower() for word in requirements}


@pytest.mark.parametrize("folder", [*PACKAGES, "launch"])
def test_every_import_is_declared(folder: str, setup_arguments: dict[str, Any]) -> None:
    """Either rosdep or pip must be able to install whatever the package imports."""
    by_pip = distribution_names(setup_arguments["install_requires"])
    extras = ("executorch", "litert-export", "litert", "openvino", "qnn", "remote", "signature", "tensorrt")
    for extra in (*extras, "train", "video"):
        by_pip |= distribution_names(setup_arguments["extras_require"][extra])
    by_rosdep = declared()
    missing = {}
    for module, users in imports(folder).items():
        if module in sys.stdlib_module_names or module in OPTIONAL or module in PACKAGES:
            continue
        if KEYS.get(module, module) in by_rosdep or module.endswith("setuptools"):
            continue
        if DISTRIBUTIONS.get(module, module) not in by_pip:
            missing[module] = sorted(map(str, users))
    assert not missing, "imported, but named neither in package.xml nor in setup.py"


def test_pip_installs_what_rosdep_installs(setup_arguments: dict[str, Any]) -> None:
    """A plain `pip install` must install every Python library that package.xml names by a key."""
    by_pip = distribution_names(setup_arguments["install_requires"])
    keys = {key: module for module, key in KEYS.items()}
    for key in declared():
        if key.startswith("python3-"):
            assert DISTRIBUTIONS.get(keys[key], keys[key]) in by_pip


def test_every_launch_and_config_file_is_installed(setup_arguments: dict[str, Any]) -> None:
    installed = {name for _, names in setup_arguments["data_files"] for name in names}
    for folder in ("launch", "config"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert path.relative_to(REPOSITORY).as_posix() in installed
    assert {"package.xml", f"resource/{PACKAGE}"} <= installed


def test_every_default_model_is_installed_with_its_files(setup_arguments: dict[str, Any]) -> None:
    """A manifest without the files it names would be found, and then refused."""
    installed = {name for _, names in setup_arguments["data_files"] for name in names}
    for path in (REPOSITORY / "models").rglob("*"):
        if path.suffix in (".onnx", ".adcpz", ".md") or path.name == "model.yaml":
            assert path.relative_to(REPOSITORY).as_posix() in installed


def test_data_files_keep_their_folders(setup_arguments: dict[str, Any]) -> None:
    for target, names in setup_arguments["data_files"]:
        for name in names:
            if name.startswith(("launch/", "config/", "models/")):
                assert f"{target}/{Path(name).name}" == f"share/{PACKAGE}/{name}"


def entry_points(setup_arguments: dict[str, Any]) -> list[tuple[str, str]]:
    groups = setup_arguments["entry_points"]
    return [(group, entry) for group, entries in groups.items() for entry in entries]


def test_entry_points_exist(setup_arguments: dict[str, Any]) -> None:
    """Each target is a module of the package that defines the named function or class."""
    for group, entry in entry_points(setup_arguments):
        target = entry.split("=", 1)[1].strip()
        module, attribute = target.split(":")
        path = REPOSITORY / (module.replace(".", "/") + ".py")
        assert path.is_file(), f"{group}: {entry}"
        defined = {
            getattr(node, "name", None) or getattr(getattr(node, "targets", [None])[0], "id", None)
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign)
        }
        assert attribute in defined, f"{group}: {entry}"


def test_every_package_folder_is_found(setup_arguments: dict[str, Any]) -> None:
    folders = {path.parent for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")}
    names = {folder.relative_to(REPOSITORY).as_posix().replace("/", ".") for folder in folders}
    assert names <= set(setup_arguments["packages"]), "a folder without __init__.py"


def test_versions_agree(setup_arguments: dict[str, Any]) -> None:
    version = setup_arguments["version"]
    assert manifest().findtext("version") == version
    changelog = (REPOSITORY / "CHANGELOG.rst").read_text("utf-8")
    released = re.findall(r"^(\d+\.\d+\.\d+)\b", changelog, flags=re.MULTILINE)
    assert released[0] == version
    init = (REPOSITORY / PACKAGE / "__init__.py").read_text("utf-8")
    stated = re.findall(r"""__version__ = ["']([^"']+)["']""", init)
    assert stated in ([], [version])


def test_package_xml_is_a_format_3_ament_python_package() -> None:
    root = manifest()
    assert root.get("format") == "3"
    assert root.findtext("export/build_type") == "ament_python"
    assert root.findtext("license") == "Apache-2.0"
    assert (REPOSITORY / "LICENSE").is_file()


def test_interface_package_lists_well_formed_messages() -> None:
    folder = REPOSITORY / "dev" / "vision_msgs"
    assert ElementTree.parse(folder / "package.xml").getroot().findtext("name") == "vision_msgs"
    for path in (folder / "msg").glob("*.msg"):
        for line in path.read_text("utf-8").splitlines():
            assert re.fullmatch(r"#.*|[A-Za-z0-9_/]+(\[\])? [a-z][a-z0-9_]*", line), path.name


PINNED_IN = ("constraints.txt", "constraints-all.txt", "constraints-mlserver.txt")


def test_versions_are_pinned_in_one_place() -> None:
    """Only the files of constraints state exact versions, one for each name and Python."""
    for path in [*(REPOSITORY / "dev").glob("requirements-*.txt"), REPOSITORY / "setup.py"]:
        assert not re.search(r"[A-Za-z0-9\]]==\d", path.read_text("utf-8")), path.name
    for name in PINNED_IN:
        pins = (REPOSITORY / "dev" / name).read_text("utf-8").splitlines()
        pins = [line for line in pins if line and not line.startswith("#")]
        for line in pins:
            assert re.match(r"[A-Za-z0-9._-]+==[^ ;]+($| *; *python_version )", line), line
        heads = [line.split("==")[0].lower() + line.partition(";")[2] for line in pins]
        assert len(heads) == len(set(heads)), name


def test_the_oldest_versions_that_are_tried_are_those_that_are_allowed(
    setup_arguments: dict[str, Any],
) -> None:
    """Failed before: typer 0.9 was allowed, with which no command of adcp starts, and never tried."""
    tried = (REPOSITORY / "dev" / "constraints-oldest.txt").read_text("utf-8").splitlines()
    allowed = [
        re.sub(r"^([\w-]+)>=([\d.]+).*", r"\1==\2", each)
        for each in setup_arguments["install_requires"]
        if each != "setuptools"  # what builds the package; every Python brings some version
    ]
    assert [line for line in tried if not line.startswith("#")] == allowed


def test_what_a_car_holds_down_is_installed_and_allowed(setup_arguments: dict[str, Any]) -> None:
    """The file for pip on a car is there after colcon, and contradicts no oldest version."""
    path = REPOSITORY / "config" / "constraints-car.txt"
    installed = {name for _, names in setup_arguments["data_files"] for name in names}
    assert path.relative_to(REPOSITORY).as_posix() in installed
    ceilings = dict(re.findall(r"^([\w-]+)<([\d.]+)", path.read_text("utf-8"), re.M))
    assert ceilings["numpy"] == "2", "cv_bridge of Humble and Jazzy is built for numpy 1"
    for requirement in setup_arguments["install_requires"]:
        name, _, oldest = requirement.partition(">=")
        if name in ceilings and oldest:
            low = [int(part) for part in oldest.partition(",")[0].split(".")]
            assert low < [int(part) for part in ceilings[name].split(".")], requirement


def test_every_runtime_replaces_what_it_wants_in_another_version() -> None:
    """One pin for each distribution: pip refuses two, and the second list's is meant."""
    from dev.setup_all import ALL, combined
    from dev.setup_env import CONSTRAINTS

    usual, every = (path.read_text("utf-8").splitlines() for path in (CONSTRAINTS, ALL))
    lines = combined(usual, every)
    assert [line for line in lines if line.startswith("protobuf")] == ["protobuf==6.33.6"]
    assert [line for line in lines if line.startswith("numpy==")] == [
        line for line in usual if line.startswith("numpy==")
    ]
    assert combined(["a_b==1", "c==1", "c-d==3"], ["# why", "A-B==2"]) == ["c==1", "c-d==3", "A-B==2"]


def test_every_requirement_is_pinned(setup_arguments: dict[str, Any]) -> None:
    pins = "\n".join(path.read_text("utf-8") for path in map((REPOSITORY / "dev").joinpath, PINNED_IN))
    pinned = {re.sub(r"[-_.]+", "-", name).lower() for name in re.findall(r"^[\w.-]+", pins, re.M)}
    requirements = list(setup_arguments["install_requires"])
    for extra in ("dev", "docs", "test", "litert", "openvino", "signature", "train", "video"):
        requirements += setup_arguments["extras_require"][extra]
    for path in (REPOSITORY / "dev").glob("requirements-*.txt"):
        lines = path.read_text("utf-8").splitlines()
        requirements += [line for line in lines if line and not line.startswith("#")]
    assert {name.replace("_", "-") for name in distribution_names(requirements)} <= pinned
