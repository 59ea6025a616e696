# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One model with two heads against two models: a detector and a segmenter on the detector's frozen encoder.

``python benchmark/shared_encoder.py --frames BAG:TOPIC [--steps 400] [--work FOLDER]``

The segmenter is road_segmentation's decoder on the encoder of road_detection, which is frozen; the decoder is
trained for some steps on the labels that road_segmentation gives (without steps only the time means
anything). Both are joined by ``adcp join``, and timed interleaved in one process: the joined model's
one inference against the two of both, with one thread each, by the clock and by the processor time of the
thread, which other programs change less.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter, thread_time
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from ad_compressed_perception.analysis.benchmark import interleaved_order, noise_frames
from ad_compressed_perception.core.manifest import Manifest, Variant, file_sha256, load_manifest
from ad_compressed_perception.core.results import LabelMask
from ad_compressed_perception.data.frames import open_frames
from ad_compressed_perception.image.decode import Frame
from ad_compressed_perception.importing.join_encoders import join_encoders
from ad_compressed_perception.metrics.bootstrap import vector_bootstrap
from ad_compressed_perception.metrics.iou import iou_per_class
from ad_compressed_perception.onnx_graph.graph import remove_dead
from ad_compressed_perception.onnx_graph.io import finish_model, read_model
from ad_compressed_perception.onnx_graph.subgraphs import copied, rename_tensors
from ad_compressed_perception.tasks.pipeline import Pipeline, open_pipeline
from ad_compressed_perception.workspace.save_manifest import save_manifest

MODELS = Path(__file__).resolve().parent.parent / "models"
STAGES = ("relu_0", "add_0", "add_1", "add_2", "add_4")
"""Ends of the encoder's stages, by the same names in both models: they have the same architecture."""
FACTORS = (16, 8, 4, 2, 1)
"""Cells of a stage for one of the last, along an axis; the logits are as fine as the first stage."""
PREFIX = "mask/"
LOGITS = f"{PREFIX}conv_36"


def graft(detector: ModelProto, segmenter: ModelProto, height: int, width: int) -> ModelProto:
    """Return the detector's encoder with the segmenter's decoder; scores are (1, 4, height, width)."""
    model, decoder = copied(detector), copied(segmenter)
    kept = {value.name for value in decoder.graph.output}
    for node in reversed(decoder.graph.node):
        if kept.intersection(node.output):
            kept.update(name for name in node.input if name not in STAGES)
    nodes = [node for node in decoder.graph.node if kept.intersection(node.output)]
    del decoder.graph.node[:]
    decoder.graph.node.extend(nodes)
    rename_tensors(decoder.graph, lambda name: name if name in STAGES or not name else PREFIX + name)
    for node in decoder.graph.node:
        node.name = PREFIX + node.name
    model.graph.node.extend(decoder.graph.node)
    model.graph.initializer.extend(decoder.graph.initializer)
    del model.graph.output[:]
    output = copied(decoder.graph.output[0])
    for axis, size in ((2, height), (3, width)):
        output.type.tensor_type.shape.dim[axis].dim_value = size
    model.graph.output.append(output)
    remove_dead(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def train(
    model: ModelProto, frames: list[Frame], teacher: Pipeline, pupil: Pipeline, steps: int
) -> ModelProto:
    """Train the decoder on the teacher's labels, the encoder frozen; return the model."""
    import torch
    from torch import nn

    from ad_compressed_perception.training.graph_module.module import GraphModule

    module = GraphModule(model)
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    trained = []
    for index, step in enumerate(module.steps):
        if str(index) in module.layers and step.outputs[0].startswith(PREFIX):
            trained += [each.requires_grad_(True) for each in module.layers[str(index)].parameters()]
    optimizer = torch.optim.AdamW(trained, lr=2e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    cached = []
    for frame in frames:
        feeds, geometry = pupil.task.prepare(frame)
        image = torch.from_numpy(next(iter(feeds.values())).copy())
        with torch.no_grad():
            stages = [value.half() for value in module.run({module.input_names[0]: image}, list(STAGES))]
        result, _ = teacher.run(frame)
        assert isinstance(result, LabelMask)
        labels = to_model(result.label_ids, geometry, *stages[0].shape[2:])
        cached.append((stages, torch.from_numpy(labels.astype(np.int64))[None]))
    counts = np.bincount(np.concatenate([one[1].numpy().ravel() for one in cached]) + 1, minlength=5)[1:]
    weight = torch.tensor((counts.sum() / np.maximum(counts, 1)) ** 0.4, dtype=torch.float32)
    loss_of = nn.CrossEntropyLoss(weight / weight.mean(), ignore_index=-1)
    rng = np.random.default_rng(0)
    for step_index in range(steps):
        stages, labels = cached[int(rng.integers(len(cached)))]
        rows, columns = stages[-1].shape[2] // 2, stages[-1].shape[3] // 2
        top, left = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))

        def part(values: Any, of: int, at: tuple[int, int] = (top, left), size: Any = (rows, columns)) -> Any:
            (row, column), (height, width) = at, size  # a quarter of the image, at the coarsest stage's cells
            return values[..., of * row : of * (row + height), of * column : of * (column + width)]

        feeds = {
            name: part(one.float(), factor) for name, one, factor in zip(STAGES, stages, FACTORS, strict=True)
        }
        labels = part(labels, FACTORS[0])
        loss = loss_of(module.run(feeds, [LOGITS])[0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step_index % 50 == 0:
            print(f"step {step_index}: loss {loss.item():.3f}", file=sys.stderr, flush=True)
    return module.write_back()


def to_model(label_ids: NDArray[np.uint8], geometry: Any, height: int, width: int) -> NDArray[np.int16]:
    """Return a mask of source pixels in the model's letterbox at another resolution; -1 in the border."""
    import cv2

    whole = np.full((geometry.model_height, geometry.model_width), -1, np.int16)
    size = (geometry.resized_width, geometry.resized_height)
    small = cv2.resize(label_ids, size, interpolation=cv2.INTER_NEAREST).astype(np.int16)
    top, left = geometry.offset_y, geometry.offset_x
    whole[top : top + small.shape[0], left : left + small.shape[1]] = small
    rows = np.arange(height) * whole.shape[0] // height
    return whole[np.ix_(rows, np.arange(width) * whole.shape[1] // width)]


def describe(folder: Path, model: ModelProto, detector: Manifest, segmenter: Manifest) -> Manifest:
    """Write the segmenter's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fp32.onnx"
    finish_model(model, {})
    onnx.save(model, path)
    manifest = Manifest(
        name="segmenter_on_detector",
        task="segmentation",
        labels=segmenter.labels,
        input=detector.input,
        output={"decoder": "argmax", "options": {"layout": "NCHW", "output": f"{PREFIX}scores"}},
        baseline="fp32",
        variants={"fp32": Variant(file=path.name, sha256=file_sha256(path))},
    )  # type: ignore[call-arg]
    save_manifest(manifest, folder)
    return load_manifest(folder)


def mean_iou(one: Pipeline, other: Pipeline, frames: list[Frame]) -> float:
    """Return the mean IoU of one model's labels against another's, pooled over frames."""
    confusion = np.zeros((4, 4), np.int64)
    for frame in frames:
        first, second = (each.run(frame)[0] for each in (one, other))
        assert isinstance(first, LabelMask)
        assert isinstance(second, LabelMask)
        codes = first.label_ids.astype(np.int64) * 4 + second.label_ids
        confusion += np.bincount(codes.ravel(), minlength=16).reshape(4, 4)
    return float(np.nanmean(iou_per_class(confusion)))


def measure(pipelines: list[Pipeline], frames: list[Frame], rounds: int) -> dict[str, Any]:
    """Return times of the joined model (the last pipeline) against the sum of the others, interleaved."""
    times: list[list[float]] = [[] for _ in pipelines]
    cpu: list[list[float]] = [[] for _ in pipelines]
    for number in range(-3, rounds):
        frame = frames[number % len(frames)]
        for index in interleaved_order(len(pipelines), number % (2 * len(pipelines))):
            start, start_cpu = perf_counter(), thread_time()
            pipelines[index].run(frame)
            if number >= 0:
                times[index].append((perf_counter() - start) * 1e3)
                cpu[index].append((thread_time() - start_cpu) * 1e3)
    both = np.sum(times[:-1], axis=0)
    joined = np.asarray(times[-1])
    ratios = both / joined
    ((low, high),) = vector_bootstrap(rounds, lambda drawn: [float(np.median(ratios[drawn]))])
    cpu_both, cpu_joined = np.sum(cpu[:-1], axis=0), np.asarray(cpu[-1])
    return {
        "rounds": rounds,
        "cpu_both_p50_ms": float(np.median(cpu_both)),
        "cpu_joined_p50_ms": float(np.median(cpu_joined)),
        "cpu_speedup": float(np.median(cpu_both / cpu_joined)),
        "both_p50_ms": float(np.median(both)),
        "joined_p50_ms": float(np.median(joined)),
        "both_p99_ms": float(np.percentile(both, 99)),
        "joined_p99_ms": float(np.percentile(joined, 99)),
        "speedup": float(np.median(ratios)),
        "speedup_95": [float(low), float(high)],
    }


def main() -> None:
    """Build, join and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", help="BAG, BAG:TOPIC or folder; noise without")
    parser.add_argument("--steps", type=int, default=0, help="training steps of the mask head")
    parser.add_argument("--limit", type=int, default=160, help="frames, a quarter of them held out")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--work", type=Path, help="keep the models in this folder")
    given = parser.parse_args()
    detector, segmenter = (load_manifest(MODELS / name) for name in ("road_detection", "road_segmentation"))
    work = given.work or Path(tempfile.mkdtemp(prefix="shared-encoder-"))
    graphs = [read_model(one.variant_path(one.baseline)) for one in (detector, segmenter)]
    model = graft(graphs[0], graphs[1], detector.input.height, detector.input.width)
    pupil = describe(work / "segmenter", model, detector, segmenter)
    held_out: list[Frame] = []
    agreement = None
    if given.frames:
        source = open_frames(given.frames)
        chosen = np.linspace(0, len(source) - 1, given.limit).astype(int).tolist()
        frames = list(source.frames(sorted(set(chosen))))
        held_out = frames[2::4]
        teacher, runner = open_pipeline(segmenter), open_pipeline(pupil)
        if given.steps:
            seen = [frame for place, frame in enumerate(frames) if place % 4 != 2]
            model = train(model, seen, teacher, runner, given.steps)
            pupil = describe(work / "segmenter", model, detector, segmenter)
            runner = open_pipeline(pupil)
        agreement = mean_iou(teacher, runner, held_out)
    joined = join_encoders((detector, pupil), work / "joined", heads=["objects", "surface"])
    shown = held_out or noise_frames(detector)
    pipelines = [open_pipeline(one, options={"threads": 1}) for one in (detector, pupil, joined.manifest)]
    found = {
        "common_share_of_macs": joined.share,
        "common_macs": joined.macs,
        "macs_of": joined.macs_of,
        "largest_difference": joined.largest_difference,
        "mean_iou_with_road_segmentation": agreement,
        **measure(pipelines, shown, given.rounds),
    }
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
