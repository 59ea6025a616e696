# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Make the development environment: virtual environment, ROS 2 wheels, vision_msgs, this package.

With a sourced ROS 2 (ROS_DISTRO set and rclpy importable) that ROS is used: the virtual environment
sees its packages, and neither wheels nor generated messages are installed. Every step leaves a
stamp (a hash of what it depends on) and is skipped while that holds.
Standard library only: this is what runs before anything is installed.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable
from pathlib import Path

DEV = Path(__file__).resolve().parent
ROOT = DEV.parent
PACKAGE = "ad_compressed_perception"
EXTRAS = ("dev", "openvino", "signature")
CONSTRAINTS = DEV / "constraints.txt"
ROS_CONSTRAINTS = ROOT / "config" / "constraints-car.txt"
# Checks must not depend on the system's versions of these.
PINNED_TOOLS = ("mypy", "ruff")
HOOK = "ros_wheels_environment"
# Read before ros_wheels_bootstrapper.pth: site reads them in the order of their names.
HOOK_PTH = f"adcp_{HOOK}.pth"


class SetupError(Exception):
    """A step failed; the message says which and what to do."""


def digest(paths: Iterable[Path], *values: object) -> str:
    """Return a hash of the contents of `paths` (folders: every file in them) and of `values`."""
    result = hashlib.sha256(repr(values).encode())
    for path in paths:
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and "__pycache__" not in file.parts:
                result.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return result.hexdigest()


def normalized(requirement: str) -> str:
    """Return the normalized distribution name of a requirement line."""
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", requirement.strip())
    return re.sub(r"[-_.]+", "-", match.group()).lower() if match else ""


def base_python() -> str:
    """Return the path of the running Python, outside of any virtual environment."""
    executable = Path(sys.executable)
    configuration = executable.parent.parent / "pyvenv.cfg"
    if configuration.is_file():
        match = re.search(r"^home *= *(.+)$", configuration.read_text(), re.MULTILINE)
        if match:
            executable = Path(match.group(1)) / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.realpath(executable)


class Environment:
    """One virtual environment and the steps that fill it."""

    def __init__(self, venv: Path, workspace: Path, verbose: bool) -> None:
        """Store the folders; nothing is created yet."""
        self.venv = venv
        self.workspace = workspace
        self.verbose = verbose
        self.python = venv / "bin" / "python"
        self.base = base_python()
        self.ros = os.environ.get("ROS_DISTRO")
        if self.ros and not self._succeeds(self.base, "import rclpy"):
            print(f"set-up: {self.base} cannot import the rclpy of ROS 2 {self.ros}: using wheels")
            self.ros = None
        self.stamps_path = venv / ".adcp-setup.json"
        self.log_path = venv / "adcp-setup.log"
        self.stamps: dict[str, str] = {}
        if self.stamps_path.is_file() and self.python.exists():
            self.stamps = json.loads(self.stamps_path.read_text())

    # -- helpers

    def _environ(self) -> dict[str, str]:
        environ = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1")
        environ["PATH"] = f"{self.venv / 'bin'}{os.pathsep}{environ.get('PATH', '')}"
        environ.pop("PYTHONHOME", None)
        return environ

    def _succeeds(self, python: str | Path, code: str) -> bool:
        return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0

    def _run(self, *command: str | Path, quiet_errors: bool = False) -> None:
        """Run a command; its output goes to the log, and to the screen when it fails."""
        arguments = [str(argument) for argument in command]
        done = subprocess.run(
            arguments,
            cwd=ROOT,
            env=self._environ(),
            stdin=subprocess.DEVNULL,
            stdout=None if self.verbose else subprocess.PIPE,
            stderr=None if self.verbose else subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        output = done.stdout or ""
        if self.venv.is_dir():
            with self.log_path.open("a") as log:
                log.write(f"$ {' '.join(arguments)}\n{output}\n")
        if done.returncode:
            tail = "\n".join(output.splitlines()[-40:])
            raise SetupError(f"{tail}\ncommand failed with status {done.returncode}: {' '.join(arguments)}")

    def _pip(self, *arguments: str | Path) -> None:
        self._run(self.python, "-m", "pip", "install", "-qq", *arguments)

    def step(self, name: str, stamp: str, action: Callable[[], None]) -> None:
        """Run `action` unless it ran before with the same stamp."""
        if self.stamps.get(name) == stamp:
            return
        print(f"set-up: {name} ...", flush=True)
        started = time.monotonic()
        action()
        self.stamps[name] = stamp
        self.stamps_path.write_text(json.dumps(self.stamps, indent=1, sort_keys=True))
        print(f"set-up: {name} done in {time.monotonic() - started:.0f} s", flush=True)

    # -- steps

    def run(self) -> None:
        """Bring everything up to date."""
        ros_lists = [] if self.ros else [DEV / "requirements-ros.txt", DEV / "requirements-generate.txt"]
        pins = [CONSTRAINTS, ROS_CONSTRAINTS] if self.ros else [CONSTRAINTS]
        install_files = [ROOT / "setup.py", ROOT / "setup.cfg", ROOT / "pyproject.toml"]
        hook = DEV / f"{HOOK}.py"
        base = digest([], self.base, sys.version, str(self.venv), self.ros)
        self.step("virtual environment", base, self.make_venv)
        self.step("this package", digest(install_files), self.install_package)
        self.step(
            "requirements",
            digest([*ros_lists, *pins, ROOT / "setup.py"]),
            lambda: self.install_requirements(ros_lists),
        )
        if not self.ros:
            self.step("ROS 2 wheels' environment", digest([hook]), lambda: self.install_hook(hook))
            messages = DEV / "vision_msgs"
            self.step(
                "vision_msgs",
                digest([messages, DEV / "requirements-generate.txt"], *self.wheel_pins()),
                lambda: self.generate(messages),
            )
        elif not self._succeeds(self.python, "import vision_msgs.msg"):
            raise SetupError(f"ROS 2 {self.ros} has no vision_msgs: apt install ros-{self.ros}-vision-msgs")
        sources = [
            ROOT / name
            for name in (PACKAGE, "ad_road_simulation", "launch", "config", "resource", "package.xml")
        ]
        self.step(
            "colcon build",
            digest([*sources, *install_files], str(self.workspace)),
            self.colcon_build,
        )

    def make_venv(self) -> None:
        """Make an empty virtual environment; a previous one is removed."""
        self.stamps = {}
        options = ["--system-site-packages"] if self.ros else []
        if (self.venv / "pyvenv.cfg").is_file():
            shutil.rmtree(self.venv)
        elif self.venv.exists() and any(self.venv.iterdir()):
            raise SetupError(f"{self.venv} exists and is not a virtual environment")
        try:
            self._run(self.base, "-m", "venv", *options, self.venv)
        except SetupError as error:
            raise SetupError(
                f"{error}\nDebian and Ubuntu keep the venv module in the package python3-venv."
            ) from None
        self._pip("-c", CONSTRAINTS, "setuptools")

    def install_package(self) -> None:
        """Install this package in place, with its commands; its requirements are installed later."""
        self._pip("--no-deps", "--no-build-isolation", "--editable", ROOT)

    def install_requirements(self, lists: list[Path]) -> None:
        """Install what setup.py names and the given requirement lists, at the pinned versions."""
        code = f"import importlib.metadata as m; print('\\n'.join(m.requires('{PACKAGE}')))"
        printed = subprocess.check_output([str(self.python), "-c", code], text=True, env=self._environ())
        requirements = []
        for line in printed.splitlines():
            extra = re.search(r"""extra == ["']([\w-]+)["']""", line)
            if extra is None or extra.group(1) in EXTRAS:
                requirements.append(line.split(";")[0].strip())
        constraints = CONSTRAINTS
        if self.ros:
            # The compiled parts of ROS 2 need its own numpy and OpenCV: both stay as they are.
            if self._succeeds(self.python, "import cv2"):
                requirements = [line for line in requirements if normalized(line) != "opencv-python-headless"]
            constraints = self.venv / "constraints.txt"
            constraints.write_text(self.ros_constraints())
        options = [argument for path in lists for argument in ("-r", str(path))]
        self._pip("-c", constraints, *options, *sorted(set(requirements)))

    def ros_constraints(self) -> str:
        """Return the pins without those of distributions that the system has already."""
        code = (
            "import importlib.metadata as m\n"
            "for d in m.distributions(): print(d.metadata['Name'], d.locate_file(''), sep='\\t')"
        )
        printed = subprocess.check_output([str(self.python), "-c", code], text=True, env=self._environ())
        held = ROS_CONSTRAINTS.read_text()
        skipped = {normalized(line) for line in held.splitlines()}
        for name, _, folder in (line.partition("\t") for line in printed.splitlines()):
            if not Path(folder).is_relative_to(self.venv) and name not in PINNED_TOOLS:
                skipped.add(normalized(name))
        pins = [line for line in CONSTRAINTS.read_text().splitlines() if normalized(line) not in skipped]
        return "\n".join([*pins, held])

    def wheel_pins(self) -> list[str]:
        """Return the pins of what the messages are compiled against."""
        pins = CONSTRAINTS.read_text().splitlines()
        return [line for line in pins if line.startswith(("ros-", "numpy=="))]

    def install_hook(self, hook: Path) -> None:
        """Install the start-up hook that makes the wheels work in a bare shell."""
        packages = self._site_packages()
        shutil.copyfile(hook, packages / hook.name)
        (packages / HOOK_PTH).write_text(f"import {HOOK}\n")

    def _site_packages(self) -> Path:
        base = {"base": str(self.venv), "platbase": str(self.venv)}
        return Path(sysconfig.get_path("purelib", "posix_prefix", vars=base))

    def generate(self, messages: Path) -> None:
        """Generate, compile and install the interface package in folder `messages`."""
        for tool in ("cmake", "c++"):
            if shutil.which(tool) is None:
                raise SetupError(f"{tool} is needed to generate vision_msgs: apt install cmake g++ make")
        self.correct_exports()
        build = self.venv / "build" / messages.name
        shutil.rmtree(build, ignore_errors=True)
        # The generators are Python programs of this virtual environment.
        self._run(
            "cmake",
            "-S",
            messages,
            "-B",
            build,
            f"-DCMAKE_INSTALL_PREFIX={self.venv}",
            f"-DCMAKE_PREFIX_PATH={self.venv}",
            f"-DPython3_EXECUTABLE={self.python}",
            "-DBUILD_TESTING=OFF",
        )
        self._run("cmake", "--build", build, "--parallel", str(os.cpu_count() or 1))
        self._run("cmake", "--install", build)
        shutil.rmtree(build)
        if not self._succeeds(self.python, "import vision_msgs.msg"):
            raise SetupError("vision_msgs was generated but cannot be imported")

    def correct_exports(self) -> None:
        """Point the wheels' CMake targets at this Python: they contain the build machine's folders."""
        python_include = sysconfig.get_path("include", vars={"installed_base": sys.base_prefix})
        numpy_include = subprocess.check_output(
            [str(self.python), "-c", "import numpy; print(numpy.get_include())"],
            text=True,
            env=self._environ(),
        ).strip()
        for path in self.venv.glob("share/*/cmake/*Export.cmake"):
            text = path.read_text()
            fixed = re.sub(r'/opt/[^";]*/numpy/(_core|core)/include', numpy_include, text)
            fixed = re.sub(r'/opt/(_internal|python)/[^";]*/include/python[0-9.]+', python_include, fixed)
            if fixed != text:
                path.write_text(fixed)

    def colcon_build(self) -> None:
        """Build this package with colcon into the workspace folder."""
        start = "import sys; from colcon_core.command import main; sys.exit(main())"
        self._run(
            self.python,
            "-c",
            start,
            "--log-base",
            self.workspace / "log",
            "build",
            "--base-paths",
            ROOT,
            "--packages-select",
            PACKAGE,
            "--build-base",
            self.workspace / "build",
            "--install-base",
            self.workspace / "install",
        )


def main() -> int:
    """Parse the command line and set up; return 0 on success."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="the virtual environment")
    parser.add_argument("--workspace", type=Path, default=ROOT, help="where build/, install/ and log/ go")
    parser.add_argument("--verbose", action="store_true", help="show the output of every command")
    arguments = parser.parse_args()
    if sys.version_info < (3, 10):  # noqa: UP036 - a clear message instead of an obscure error
        print(
            f"set-up: Python 3.10 or newer is needed, this is {sys.version.split()[0]}",
            file=sys.stderr,
        )
        return 1
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            Environment(arguments.venv.absolute(), arguments.workspace.absolute(), arguments.verbose).run()
        except SetupError as error:
            print(f"set-up: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
