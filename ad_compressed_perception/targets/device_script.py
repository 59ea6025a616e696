# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs the reference frames of an exported model on a device and writes what the model gives.

This file is copied into the exported folder as run_on_device.py. It needs numpy and the device's runtime,
nothing else; job.json beside it says which file to run, how, and on what. `python run_on_device.py` writes
outputs/, which `adcp verdict --outputs FOLDER` reads on the PC.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent
SCHEMA = "adcp-device-outputs/1"
WARM_UP_RUNS = 3


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


class OnnxRuntime:
    """ONNX Runtime with the execution providers of the job."""

    def __init__(self, model: Path, job: dict[str, Any]) -> None:
        import onnxruntime

        options, asked = job["options"], list(job["options"].get("providers", ["CPUExecutionProvider"]))
        given = options.get("provider_options", {})
        settings = [
            {name: str(value) for name, value in given.items()} if not place else {}
            for place in range(len(asked))
        ]
        self.runtime, self.version = "onnxruntime", str(onnxruntime.__version__)
        self.names = list(job["outputs"])
        profiled = onnxruntime.SessionOptions()
        profiled.enable_profiling = True
        profiled.profile_file_prefix = str(FOLDER / "placement")
        self.session = onnxruntime.InferenceSession(str(model), profiled, asked, settings)
        self.placement = self._placement(job)
        self.device = str(self.session.get_providers()[0])
        if self.device != asked[0] or not self.placement.get(asked[0]):
            sys.exit(
                f"error: of {model.name} {asked[0]} runs no node ({self.placement}), the session is one of "
                f"{', '.join(self.session.get_providers())}: nothing was measured"
            )

    def _placement(self, job: dict[str, Any]) -> dict[str, int]:
        """Return how many nodes run on each execution provider, in one run; end profiling."""
        first = np.load(FOLDER / job["frames"][0]["input"], allow_pickle=False)
        self.run(job["input"], first)
        file = Path(self.session.end_profiling())
        events = [one.get("args", {}) for one in json.loads(file.read_text(encoding="utf-8"))]
        file.unlink()
        return dict(Counter(str(one["provider"]) for one in events if one.get("provider")))

    def run(self, name: str, tensor: Any) -> list[Any]:
        """Return the outputs in the job's order."""
        return list(self.session.run(self.names, {name: tensor}))


class OpenVino:
    """OpenVINO on the device of the job."""

    def __init__(self, model: Path, job: dict[str, Any]) -> None:
        import openvino

        core = openvino.Core()
        self.device = str(job["options"].get("device", "CPU"))
        compiled = core.compile_model(str(model), self.device)
        self.device = _executing(compiled, self.device)
        self.request = compiled.create_infer_request()
        self.runtime, self.version = "openvino", str(openvino.__version__)
        self.places = [_place(compiled.outputs, name) for name in job["outputs"]]

    def run(self, name: str, tensor: Any) -> list[Any]:
        """Return the outputs in the job's order."""
        self.request.infer({name: tensor})
        return [np.array(self.request.get_output_tensor(place).data) for place in self.places]


def _executing(compiled: Any, asked: str) -> str:
    """Return the device that a model runs on and the type of its floats, as far as its plugin has them."""
    try:
        found = compiled.get_property("EXECUTION_DEVICES")
        asked = found if isinstance(found, str) else ", ".join(found)
        return f"{asked} (floats as {compiled.get_property('INFERENCE_PRECISION_HINT').get_type_name()})"
    except Exception:  # a plugin without these properties
        return asked


def _place(outputs: Any, name: str) -> int:
    return next(place for place, one in enumerate(outputs) if name in one.get_names())


class LiteRt:
    """LiteRT's interpreter; its outputs come in the order of the file."""

    def __init__(self, model: Path, job: dict[str, Any]) -> None:
        from importlib.metadata import version

        from ai_edge_litert import interpreter

        self.interpreter = interpreter.Interpreter(model_path=str(model))
        self.interpreter.allocate_tensors()
        self.runtime, self.version, self.device = "litert", version("ai-edge-litert"), "CPU"
        self.input = self.interpreter.get_input_details()[0]
        self.outputs = self.interpreter.get_output_details()
        if len(self.outputs) != len(job["outputs"]):
            sys.exit(f"error: {model.name} has {len(self.outputs)} outputs, model.onnx {len(job['outputs'])}")

    def run(self, name: str, tensor: Any) -> list[Any]:
        """Return the outputs in the order of the file, which the conversion keeps."""
        self.interpreter.set_tensor(self.input["index"], _to_stored(self.input, tensor))
        self.interpreter.invoke()
        return [_to_real(one, self.interpreter.get_tensor(one["index"])) for one in self.outputs]


def _to_stored(port: dict[str, Any], tensor: Any) -> Any:
    """Quantize a float tensor where the file's input is of integers."""
    scale, zero = port["quantization"]
    kind = np.dtype(port["dtype"])
    if tensor.dtype == kind or not scale:
        return tensor.astype(kind, copy=False)
    limits = np.iinfo(kind)
    return np.clip(np.rint(tensor / scale) + zero, limits.min, limits.max).astype(kind)


def _to_real(port: dict[str, Any], tensor: Any) -> Any:
    """Dequantize an output of integers that has a scale."""
    scale, zero = port["quantization"]
    return (tensor.astype(np.float32) - zero) * np.float32(scale) if scale else np.array(tensor)


class TensorRt:
    """TensorRT by the commands of the job, which build the plan and run it on one file of input."""

    def __init__(self, model: Path, job: dict[str, Any]) -> None:
        """Build the plan where there is none of this model.onnx."""
        self.command, self.names = list(job["options"]["run"]), list(job["outputs"])
        self.dtypes = list(job["dtypes"])
        record = model.with_suffix(".source")
        source = " ".join([sha256(FOLDER / "model.onnx"), *job["options"]["build"]])
        if not model.is_file() or not record.is_file() or record.read_text() != source:
            subprocess.run(list(job["options"]["build"]), cwd=FOLDER, check=True)
            record.write_text(source)
        self.runtime, self.version, self.device = "tensorrt", str(job["options"].get("version", "")), "GPU"

    def run(self, name: str, tensor: Any) -> list[Any]:
        """Return the outputs in the job's order."""
        places = {"input": name, "file": "trt_input.bin", "result": "trt_output.json"}
        (FOLDER / places["file"]).write_bytes(np.ascontiguousarray(tensor).tobytes())
        (FOLDER / places["result"]).unlink(missing_ok=True)
        command = [word.format(**places) for word in self.command]
        subprocess.run(command, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)
        found = {one["name"]: one for one in json.loads((FOLDER / places["result"]).read_text())}
        return [
            np.array(found[key]["values"])
            .astype(self.dtypes[place])
            .reshape([int(size) for size in found[key]["dimensions"].split("x")])
            for place, key in enumerate(self.names)
        ]


RUNTIMES = {"onnxruntime": OnnxRuntime, "openvino": OpenVino, "litert": LiteRt, "tensorrt": TensorRt}


def main() -> None:
    """Run all frames of job.json and write outputs/ with an index of hashes."""
    job = json.loads((FOLDER / "job.json").read_text(encoding="utf-8"))
    if job["runtime"] not in RUNTIMES:
        sys.exit(f"error: no runner for runtime {job['runtime']!r}: add one to RUNTIMES in this file")
    model = FOLDER / job["model_file"]
    runner: Any = RUNTIMES[job["runtime"]](model, job)
    folder = FOLDER / "outputs"
    folder.mkdir(exist_ok=True)
    for old in (*folder.glob("*.npz"), *folder.glob("index.json")):
        old.unlink()
    frames = []
    for place, frame in enumerate(job["frames"]):
        tensor = np.load(FOLDER / frame["input"], allow_pickle=False)
        for _ in range(0 if place or job["runtime"] == "tensorrt" else WARM_UP_RUNS):
            runner.run(job["input"], tensor)
        start = time.perf_counter()
        outputs = runner.run(job["input"], tensor)
        ms = None if job["runtime"] == "tensorrt" else (time.perf_counter() - start) * 1e3
        file = folder / f"{frame['name']}.npz"
        np.savez(file, *outputs)
        frames.append(
            {"name": frame["name"], "input_sha256": sha256(FOLDER / frame["input"]), "file": file.name,
             "sha256": sha256(file), "ms": ms}
        )  # fmt: skip
    index = {
        "schema": SCHEMA,
        "export_id": job["export_id"],
        "model_sha256": sha256(FOLDER / "model.onnx"),
        "model_file_sha256": sha256(model),
        "runtime": runner.runtime,
        "version": runner.version,
        "device": f"{runner.device}, {platform.machine()} {platform.node()}",
        "placement": getattr(runner, "placement", None),
        "frames": frames,
    }
    part = folder / "index.json.part"
    part.write_text(json.dumps(index, indent=1), encoding="utf-8")
    part.replace(folder / "index.json")
    print(f"{len(frames)} frames: {folder}")


if __name__ == "__main__":
    main()
