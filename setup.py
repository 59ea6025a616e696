# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Install the ad_compressed_perception package (build type ament_python)."""

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "ad_compressed_perception"
SIMULATION = "ad_road_simulation"
ROOT = Path(__file__).resolve().parent
NODES = (
    "detection_node",
    "segmentation_node",
    "planning_node",
    "classification_node",
    "multi_task_node",
    "latency_monitor_node",
    "compose",
    "bag_player",
)
SIMULATION_NODES = ("road_camera_node",)
TEST_REQUIREMENTS = ["hypothesis", "pytest>=6.2", "pytest-timeout", "scipy>=1.15"]


def data_files() -> list[tuple[str, list[str]]]:
    """Return what goes into share/, each file with the folder it is installed to."""
    share = f"share/{PACKAGE}"
    files = [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (share, ["package.xml"]),
    ]
    folders: dict[str, list[str]] = {}
    tops = {
        "launch": ("*.py",),
        "config": ("*.yaml", "*.xml", "*.json", "*.rviz", "*.perspective", "*.txt", "*.env"),
        "models": ("model.yaml", "*.onnx", "*.adcpz", "*.md"),
    }
    for top, patterns in tops.items():
        for pattern in patterns:
            for path in sorted((ROOT / top).rglob(pattern)):
                relative = path.relative_to(ROOT)
                folders.setdefault(relative.parent.as_posix(), []).append(relative.as_posix())
    files += [(f"{share}/{folder}", names) for folder, names in sorted(folders.items())]
    return files


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Compress, verify, run and compare perception models of vehicles on ROS 2",
    long_description=(ROOT / "README.md").read_text("utf-8") if (ROOT / "README.md").is_file() else "",
    long_description_content_type="text/markdown",
    author="The ad_compressed_perception authors",
    maintainer="The ad_compressed_perception authors",
    maintainer_email="maintainers@ad-compressed-perception.invalid",
    license="Apache-2.0",
    packages=find_packages(include=[PACKAGE, f"{PACKAGE}.*", SIMULATION, f"{SIMULATION}.*"]),
    package_data={
        PACKAGE: ["py.typed", "*.pyi", "core/*.json", "targets/rules/*.yaml"],
        SIMULATION: ["py.typed"],
    },
    data_files=data_files(),
    zip_safe=False,
    python_requires=">=3.10",
    # What a sourced ROS 2 brings (rclpy, messages, cv_bridge, launch) is named in package.xml only.
    install_requires=[
        "setuptools",
        "click>=8.0",
        "faster-coco-eval>=1.6",
        "markdown-it-py>=2.1",
        "matplotlib>=3.7",
        "numpy>=1.23.5",
        "onnx>=1.16",
        "onnxruntime>=1.20",
        "onnxslim>=0.1.50",
        "opencv-python-headless>=4.5.5.64,<5",
        "protobuf>=3.20.2",
        "pillow>=9.3",
        "psutil>=5.9.4",
        "pydantic>=2.5,<3",
        "pyyaml>=6.0",
        "rich>=12",
        # The first that writes MCAP with statistics and compressed chunks.
        "rosbags>=0.11",
        # From 0.26 on it has its own copy of click, whose errors are other classes.
        "typer>=0.12.5,<0.26",
    ],
    extras_require={
        # Of make docs.
        "docs": ['myst-parser>=5; python_version >= "3.11"', 'sphinx>=9; python_version >= "3.11"'],
        "executorch": ["executorch>=1.5", "torchao>=0.18", "torch>=2.13"],
        "gpu": ["onnxruntime-gpu>=1.20"],
        "litert": ["ai-edge-litert>=2.1"],
        "litert-export": [
            "ai-edge-litert>=2.1",
            "ai-edge-quantizer>=0.10",
            "flatbuffers",
            "litert-torch>=0.10",
            "torch>=2.13",
        ],
        "openvino": ["openvino>=2025.0"],
        "pytorch": ["onnxscript>=0.5", "torch>=2.6"],
        "qnn": ['onnxruntime-qnn>=2; python_version >= "3.11"'],
        "remote": ["grpcio>=1.60", "tritonclient[grpc]>=2.50"],
        "signature": ["cryptography>=41"],
        "tensorrt": ["cuda-python>=12.6", "tensorrt>=10"],
        "test": TEST_REQUIREMENTS,
        "train": ["safetensors>=0.4", "torch>=2.6", "torch-pruning>=1.6"],
        # FFmpeg 8: older ones return images of H.265 made of others where packets are lost.
        "video": ["av>=16"],
        "dev": [
            *TEST_REQUIREMENTS,
            "av>=16",
            "colcon-common-extensions",
            "mypy",
            "pytest-xdist",
            "ruff",
            "types-PyYAML",
            "types-psutil",
        ],
    },
    entry_points={
        "console_scripts": [
            f"adcp = {PACKAGE}.cli.main:main",
            *(f"{node} = {PACKAGE}.nodes.{node}:main" for node in NODES),
            *(f"{node} = {SIMULATION}.nodes.{node}:main" for node in SIMULATION_NODES),
        ],
        # This package's own plug-ins are in the tables PLUGINS of their rooms.
        f"{PACKAGE}.backends": [f"fault_injection = {SIMULATION}.faults.backend:FaultInjectionBackend"],
        f"{PACKAGE}.frame_sources": [
            f"road_camera = {SIMULATION}.model_training.frame_source:RoadCameraSource"
        ],
        f"{PACKAGE}.nodes": [f"road_camera_node = {SIMULATION}.nodes.road_camera_node:RoadCameraNode"],
        f"{PACKAGE}.reports": [f"adcp-drive/1 = {SIMULATION}.closed_loop.report:render_document"],
        f"{PACKAGE}.verbs": [
            f"camera = {SIMULATION}.cli.camera:camera",
            f"demo = {SIMULATION}.demo.command:demo",
            f"drive = {SIMULATION}.cli.drive:drive",
        ],
    },
    classifiers=[
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
