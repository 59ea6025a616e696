# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Time of the backend ``remote`` against a bare call of tritonclient with the same tensors, alternately.

    python -m benchmark.remote [MODEL.onnx] [--rounds 300]

A server of its own process (benchmark/inference_server.py) serves the model, which costs next to nothing by
default: what is left is the way there and back. Each round calls both, in random order; printed are medians
and p99, the median of the rounds' ratios, and the processor time of this process, without the server's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np

from ad_compressed_perception.backends import create_backend
from ad_compressed_perception.backends.remote_protocol import DATATYPES

_SHAPE = (1, 3, 416, 416)
_WARM_UP_ROUNDS = 20


def write_copying_model(path: Path, shape: tuple[int, ...] = _SHAPE) -> Path:
    """Write a model of an image's size whose output is its input, negated."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("Neg", ["image"], ["copy"])],
        "copying",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("copy", TensorProto.FLOAT, shape)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def bare_call(url: str, feeds: dict[str, Any], outputs: tuple[str, ...]) -> Callable[[], Any]:
    """Return a call of tritonclient that sends these tensors and returns the outputs as arrays."""
    from tritonclient import grpc as triton

    client = triton.InferenceServerClient(url)

    def call() -> list[Any]:
        inputs = []
        for name, array in feeds.items():
            tensor = triton.InferInput(name, array.shape, DATATYPES[array.dtype.name])
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        requested = [triton.InferRequestedOutput(name) for name in outputs]
        result = client.infer("model", inputs, outputs=requested, client_timeout=10.0)
        return [result.as_numpy(name) for name in outputs]

    return call


def measure(first: Callable[[], Any], second: Callable[[], Any], rounds: int) -> np.ndarray:
    """Return (rounds, 2, 2) milliseconds of two calls in random order: elapsed, and of this process."""
    rng = np.random.default_rng(0)
    times = np.zeros((rounds + _WARM_UP_ROUNDS, 2, 2))
    for row in times:
        for which in rng.permutation(2):
            start, used = perf_counter(), process_time()
            (first, second)[which]()
            row[which] = (perf_counter() - start) * 1e3, (process_time() - used) * 1e3
    return times[_WARM_UP_ROUNDS:]


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time of the backend remote against a bare call.")
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=300)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="adcp-remote-") as folder:
        model = given.model or write_copying_model(Path(folder) / "copying.onnx")
        command = [sys.executable, "-m", "benchmark.inference_server", str(model)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                url = f"127.0.0.1:{int(server.stdout.readline())}"
                options = {"url": url, "model_name": "model", "deadline_ms": 10_000}
                session = create_backend("remote").load(model, options)
                rng = np.random.default_rng(1)
                feeds = {
                    spec.name: rng.random([size or 1 for size in spec.shape]).astype(spec.dtype)
                    for spec in session.info.inputs
                }
                names = tuple(spec.name for spec in session.info.outputs)
                bare = bare_call(url, feeds, names)
                times = measure(lambda: session.infer(feeds), bare, given.rounds)
                session.close()
            finally:
                server.kill()
    p50, p99 = np.percentile(times, (50, 99), axis=0)
    ratios = np.median(times[:, 0] / times[:, 1], axis=0)
    print(f"{model.name}: {len(times)} rounds, ms")
    for index, name in enumerate(("remote", "bare")):
        elapsed, used = p50[index]
        print(f"{name:7} p50 {elapsed:.2f} p99 {p99[index][0]:.2f}, processor time p50 {used:.2f}")
    print(f"ratio of p50 {p50[0][0] / p50[1][0]:.3f}, median of ratios {ratios[0]:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
