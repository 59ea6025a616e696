# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp import``: a model of another framework becomes a model folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import click
import typer

from ad_compressed_perception.cli.options import AsJson, LabelMap
from ad_compressed_perception.core.manifest import TaskName
from ad_compressed_perception.core.one_line import shorten

if TYPE_CHECKING:
    from ad_compressed_perception.core.manifest import Manifest

_Target = Literal["auto", "onnx"]
_TASKS, _TARGETS = get_args(TaskName), get_args(_Target)
_LAYOUTS, _COLORS = ("NCHW", "NHWC"), ("BGR", "RGB", "GRAY")
# Their results are not compared between frames.
_UNSEEN = ("raw",)
_LABEL_FILES = (".txt", ".names", ".yaml", ".yml", ".json", ".csv")
# "0: car", "1: person", as in data.yaml of YOLO trainings; also with other signs between.
_NUMBERED = re.compile(r"(?P<id>\d{1,6})\s*(?P<sign>[:=,;\s])\s*(?P<name>\S.*)")


def import_model(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="ONNX, .tflite, TorchScript .pt, torch.export .pt2, .keras, SavedModel folder.",
        ),
    ],
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder to create.")],
    task: Annotated[
        TaskName | None,
        typer.Option(click_type=click.Choice(_TASKS), help="Task of the model; guessed by default."),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(metavar="A,B,..|FILE", help="Class names, or a file with one per line.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The model's name; the file's by default.")] = None,
    decoder: Annotated[str | None, typer.Option(help="Decoder of the outputs; guessed by default.")] = None,
    decoder_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Option of the decoder, such as strides=8,16,32; may be repeated."
        ),
    ] = None,
    input_width: Annotated[
        int | None, typer.Option(min=1, help="Input width in pixels, where the file leaves it open.")
    ] = None,
    input_height: Annotated[int | None, typer.Option(min=1, help="Input height in pixels, likewise.")] = None,
    input_layout: Annotated[
        str | None,
        typer.Option(click_type=click.Choice(_LAYOUTS), help="Input layout; read from the shape by default."),
    ] = None,
    input_color: Annotated[
        str | None,
        typer.Option(
            click_type=click.Choice(_COLORS), help="Color order; guessed by default, GRAY with one channel."
        ),
    ] = None,
    input_scale: Annotated[
        float | None, typer.Option(help="Factor on the 0..255 pixel; guessed by default.")
    ] = None,
    input_mean: Annotated[
        str | None, typer.Option(metavar="A[,B,C]", help="Mean, subtracted after the scale; 0 by default.")
    ] = None,
    input_std: Annotated[
        str | None,
        typer.Option(metavar="A[,B,C]", help="Standard deviation, divisor after that; 1 by default."),
    ] = None,
    input_resize: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="stretch, letterbox, letterbox-center, or crop:WxH[:bottom|top] to resize to WxH and cut; "
            "guessed by default.",
        ),
    ] = None,
    to: Annotated[
        _Target,
        typer.Option(
            click_type=click.Choice(_TARGETS),
            help="Target format; onnx: convert a .tflite file instead of running it.",
        ),
    ] = "auto",
    sample: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="BAG, BAG:TOPIC or folder of images to judge the candidates on.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Labeled data, as of adcp evaluate: scale, color order and resizing are ranked by accuracy.",
        ),
    ] = None,
    label_map: LabelMap = None,
    inputs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML: sources of all inputs by tensor name, as inputs of model.yaml; constants are baked.",
        ),
    ] = None,
    outputs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML: heads by name, as outputs of model.yaml."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Turn a model file into MODEL_DIR with a model.yaml, run it on a few frames, keep it if that worked.

    What is not given is guessed: from the exporter's metadata and the shapes of the outputs, with --sample
    from how results on mirrored frames agree with mirrored results, with --data from accuracy. The output,
    and the description in model.yaml, say what was guessed and what stays unsure. With --sample,
    MODEL_DIR/import.report has four images with the results drawn, and all figures.

    --task multi_task makes each output tensor a head; --outputs describes heads of several tensors.
    """
    from ad_compressed_perception.cli.import_output import as_document, print_imported
    from ad_compressed_perception.importing import import_model as importing
    from ad_compressed_perception.importing.trial import try_source

    if label_map is not None and data is None:
        raise typer.BadParameter("--label-map belongs to --data")
    given: dict[str, Any] = {
        "width": input_width,
        "height": input_height,
        "layout": input_layout,
        "color": input_color,
        "scale": input_scale,
        "mean": _numbers("--input-mean", input_mean),
        "std": _numbers("--input-std", input_std),
        **_resizing(input_resize),
    }
    request = importing.ImportRequest(
        task=task,
        name=name,
        labels=read_labels(labels),
        decoder=decoder,
        decoder_options=_options(decoder_option or []),
        input={key: value for key, value in given.items() if value is not None},
        convert=to,
        sample=sample,
        data=data,
        label_map=label_map,
        inputs=_mapping_of(inputs),
        outputs=_mapping_of(outputs),
    )
    try_source(source)
    imported = importing.import_model(source, model_dir, request)
    manifest = imported.manifest
    look = sample is not None and manifest.task not in _UNSEEN
    judged = imported.guess.frames
    warnings = _look_at_results(manifest, sample, judged) if look and sample is not None else []
    if as_json:
        print(as_document(imported, warnings).to_json())
        return
    print_imported(imported, warnings)


def _mapping_of(path: Path | None) -> dict[str, Any]:
    from ad_compressed_perception.core.errors import ManifestError
    from ad_compressed_perception.core.yaml_file import read_yaml_mapping

    return {} if path is None else dict(read_yaml_mapping(path, "description", ManifestError))


def _look_at_results(manifest: Manifest, sample: str, judged: int) -> list[str]:
    """Return warnings of a model whose outputs are valid, and which says nothing on the sample's frames.

    ``judged``: frames that the candidates were judged on, few where the model is slow; 0 where none was.
    """
    from ad_compressed_perception.analysis.output_plausibility import MOST_FRAMES, choose_evenly
    from ad_compressed_perception.compression.frame_split import FrameSample
    from ad_compressed_perception.compression.verification.informative import refuse_uninformative
    from ad_compressed_perception.compression.verification.mirror import mirror_warning
    from ad_compressed_perception.core.errors import ManifestError
    from ad_compressed_perception.data.input_frames import open_model_frames
    from ad_compressed_perception.tasks.pipeline import heads_of, open_pipeline

    source = open_model_frames(manifest, sample)
    frames = FrameSample(source, source.readable(choose_evenly(range(len(source)), judged or MOST_FRAMES)))
    about = [f"warning: {sentence}" for sentence in source.account().sentences()]
    model = open_pipeline(manifest)
    try:
        refuse_uninformative(model, manifest, frames)
        found = (mirror_warning(one, one.task.manifest, frames) for one in heads_of(model).values())
        warning = "; ".join(text for text in found if text) or None
    except ManifestError as error:
        warning = f"warning: {error}"
    finally:
        model.close()
    return about if warning is None else [*about, warning]


def _resizing(text: str | None) -> dict[str, Any]:
    """Return the fields of an input section for ``--input-resize``."""
    if text is None:
        return {}
    if text in ("stretch", "letterbox"):
        return {"resize": text}
    if text == "letterbox-center":
        return {"resize": "letterbox", "letterbox_align": "center"}
    crop = re.fullmatch(r"crop:(\d{1,5})x(\d{1,5})(?::(center|bottom|top))?", text)
    if crop is None:
        raise typer.BadParameter(
            f"--input-resize expects stretch, letterbox, letterbox-center or crop:WIDTHxHEIGHT[:bottom|top], "
            f"such as crop:320x240:bottom, not {text!r}"
        )
    return {
        "resize": "crop",
        "resize_width": int(crop[1]),
        "resize_height": int(crop[2]),
        "crop_anchor": crop[3] or "center",
    }


def _numbers(option: str, text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{option} expects numbers separated by commas, not {text!r}") from None


def read_labels(text: str | None) -> list[str]:
    """Return the labels of ``--labels``: a list with commas, a file with one a line, or a YAML file (names:).

    Raises:
        typer.BadParameter: a file that is not text, or whose ids are not 0, 1, 2 ...
    """
    if text is None:
        return []
    if not os.path.isfile(text):  # also where the list is longer than a file's name can be
        if "," not in text and Path(text).suffix in _LABEL_FILES:
            raise typer.BadParameter(f"--labels: there is no file {text}")
        return [part.strip() for part in text.split(",") if part.strip()]
    if Path(text).suffix in (".yaml", ".yml"):
        return _names_of_yaml(Path(text))
    if Path(text).suffix == ".json":
        raise typer.BadParameter(
            f"--labels: {text} must be a text file with one label a line, or a YAML file with names"
        )
    try:
        lines = [line.strip() for line in Path(text).read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError:
        raise typer.BadParameter(f"--labels: {text} is not text") from None
    return _without_numbers([line for line in lines if line], text)


def _names_of_yaml(path: Path) -> list[str]:
    from ad_compressed_perception.core.errors import DataError
    from ad_compressed_perception.data.labeled.yolo_txt import names_of_yaml

    try:
        return names_of_yaml(path)
    except DataError as error:
        raise typer.BadParameter(f"--labels: {error}") from None


def _without_numbers(lines: list[str], path: str) -> list[str]:
    """Return labels without their ids where every line is one such as "0: name", in the order of the ids."""
    matches = [match for line in lines if (match := _NUMBERED.fullmatch(line))]
    ids = [int(match["id"]) for match in matches]
    if matches and sorted(ids) == list(range(len(lines))):
        return [match["name"].strip("'\"") for _, match in sorted(zip(ids, matches, strict=True))]
    if len(matches) == len(lines) > 1 or any(match["sign"] == ":" for match in matches):
        raise typer.BadParameter(
            f"--labels: {path} has lines such as {shorten(matches[0][0])!r}, but its ids are not 0 to "
            f"{len(lines) - 1}, once each: write one label a line, in the order of the model's classes"
        )
    return lines


def _options(pairs: list[str]) -> dict[str, Any]:
    from ad_compressed_perception.core.yaml_file import YamlError, parse_yaml

    options = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"--decoder-option expects KEY=VALUE, not {pair!r}")
        try:
            options[key] = _listed(parse_yaml(value))
        except YamlError as error:
            raise typer.BadParameter(f"--decoder-option {key}: not a YAML value: {error}") from None
    return options


def _listed(value: Any) -> Any:
    """Return ``8,16,32`` as a list of its values; other values as they are."""
    from ad_compressed_perception.core.yaml_file import parse_yaml

    if not isinstance(value, str) or "," not in value:
        return value
    return [parse_yaml(part.strip()) for part in value.split(",") if part.strip()]
