# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp evaluate``: accuracy of variants on labeled data, with confidence intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_compressed_perception.cli.options import MAX_BAD_FRAMES

if TYPE_CHECKING:
    from ad_compressed_perception.analysis.evaluate import EvaluationResult, Figure
    from ad_compressed_perception.core.manifest import Manifest
    from ad_compressed_perception.data.labeled.dataset import LabeledData

SCHEMA = "adcp-evaluation/1"
_LISTED = 12


def evaluate(
    model_dir: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="Folder with model.yaml.")],
    data: Annotated[str, typer.Option(metavar="SPEC", help="FOLDER, LABELS or LABELS@FRAMES, see above.")],
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="A[,B]",
            help="Variants; those after the first are compared with it (default: the baseline).",
        ),
    ] = None,
    label_map: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|NAME",
            help="YAML map from the data's names to the model's labels, or a shipped one: camvid_road.",
        ),
    ] = None,
    from_share: Annotated[
        float,
        typer.Option(
            "--from", min=0.0, max=1.0, help="Share of the data to begin at: 0.75 is its last quarter."
        ),
    ] = 0.0,
    to_share: Annotated[
        float, typer.Option("--to", min=0.0, max=1.0, help="Share of the data to end at.")
    ] = 1.0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many frames, at even steps.")] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Detection: least score of a box (default 0.01).")
    ] = None,
    nms_iou_threshold: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="Detection: IoU of suppressed boxes (default 0.65)."),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="Detection: most boxes of a frame (default 100).")
    ] = None,
    max_bad_frames: Annotated[str | None, MAX_BAD_FRAMES] = None,
    tolerance_ms: Annotated[
        float, typer.Option(min=0.0, help="Planning: farthest label taken for a frame, milliseconds.")
    ] = 50.0,
    backend: Annotated[
        str | None, typer.Option(help="Run all variants on this backend instead of their own.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Threads inside one inference; 0: the runtime's choice.")
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where compressed variants are; $ADCP_WORK or ./adcp_work by default."
        ),
    ] = None,
    per_class: Annotated[
        bool, typer.Option(help="Also show every class (detection, classification).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Measure the accuracy of variants on labeled data, each figure with its 95% interval.

    What SPEC means follows from the model's task.

    Detection (mAP, AP50; categories and labels are matched by name):
    a FOLDER with instances.json (COCO) and images/, or FILE.json@IMAGES.

    Segmentation (IoU of each class, mean IoU), with --label-map or labels.json beside the masks:
    a FOLDER with images/ and masks/, or MASKS@IMAGES.

    Classification (accuracy, mean recall; --per-class: recall, precision, confusion):
    a FOLDER with a folder of images for each class, or labels.csv (file,label), or FILE.csv@IMAGES.

    Planning (RMSE, MAE, correlation of the steering-wheel angle; with trajectories ADE and FDE):
    a FOLDER with steering.csv (stamp_ns,steering_angle_rad) or trajectories.jsonl and images/,
    or FILE@IMAGES, or FILE@BAG:TOPIC.

    Variants that the gate rejected are evaluated too, and marked.
    """
    import json

    from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, compare
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.data.labeled.dataset import choose_indices
    from ad_compressed_perception.data.labeled.open import open_labeled

    names = list(dict.fromkeys(name.strip() for name in (variant or "").split(",") if name.strip()))
    manifest = open_model(model_dir, work, names)
    names = names or [manifest.baseline]
    labeled = open_labeled(data, manifest, label_map, tolerance_ms)
    chosen_frames = choose_indices(len(labeled), from_share, to_share, limit)
    indices = labeled.readable(chosen_frames, parse_limit(max_bad_frames))
    given = {
        "score_threshold": score_threshold,
        "nms_iou_threshold": nms_iou_threshold,
        "max_detections": max_detections,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if manifest.task != "detection" and chosen:
        flag = "--" + next(iter(chosen)).replace("_", "-")
        raise typer.BadParameter(f"{flag} is for detection, {manifest.name} is for {manifest.task}")
    settings = {**DETECTION_SETTINGS, **chosen} if manifest.task == "detection" else {}
    options = {} if threads is None else {"threads": threads}
    results = _run(manifest, names, labeled, indices, settings, backend, options)
    comparison = {result.variant: compare(results[0], result) for result in results[1:]}
    if as_json:
        document = _document(manifest, labeled, results, comparison)
        print(json.dumps(document, indent=2, allow_nan=False))
    else:
        _print_tables(manifest, labeled, results, comparison, per_class)


def _run(
    manifest: Manifest,
    names: list[str],
    labeled: LabeledData,
    indices: list[int],
    settings: dict[str, Any],
    backend: str | None,
    options: dict[str, Any],
) -> list[EvaluationResult]:
    from rich.console import Console
    from rich.progress import Progress

    from ad_compressed_perception.analysis.evaluate import evaluate as run_evaluation
    from ad_compressed_perception.analysis.evaluate import use_settings
    from ad_compressed_perception.tasks.pipeline import open_pipeline

    results = []
    with Progress(console=Console(stderr=True), transient=True) as bar:
        for name in names:
            task = bar.add_task(name, total=len(indices))
            pipeline = open_pipeline(manifest, name, backend=backend, options=options, allow_rejected=True)
            try:
                use_settings(pipeline, **settings)
                results.append(
                    run_evaluation(
                        pipeline,
                        labeled,
                        indices,
                        progress=lambda done, task=task: bar.update(task, completed=done),  # type: ignore[misc]
                    )
                )
            finally:
                pipeline.close()
    return results


def _document(
    manifest: Manifest,
    labeled: LabeledData,
    results: list[EvaluationResult],
    comparison: dict[str, dict[str, Figure]],
) -> dict[str, Any]:
    first = results[0]
    return {
        "schema": SCHEMA,
        "model": manifest.name,
        "task": manifest.task,
        "data": {
            "source": labeled.describe,
            "available": len(labeled),
            "evaluated": len(first.indices),
            "classes": list(labeled.class_names),
        },
        "settings": first.settings,
        "lower_is_better": sorted(first.score.lower_is_better),
        "variants": {
            result.variant: {"verdict": _verdict(manifest, result.variant), **result.as_dict()}
            for result in results
        },
        "comparison": {
            name: {
                "reference": first.variant,
                "difference": {key: figure.as_dict() for key, figure in figures.items()},
            }
            for name, figures in comparison.items()
        },
    }


def _verdict(manifest: Manifest, variant: str) -> str | None:
    verdict = manifest.variant(variant).verdict
    return verdict.status if verdict else None


def _print_tables(
    manifest: Manifest,
    labeled: LabeledData,
    results: list[EvaluationResult],
    comparison: dict[str, dict[str, Figure]],
    per_class: bool,
) -> None:
    from rich.table import Table

    from ad_compressed_perception.cli.output import table_console

    console = table_console()
    first = results[0]
    table = Table(title=f"{manifest.name}: accuracy on {len(first.indices)} frames", title_justify="left")
    for title in ("variant", "backend", "precision", "verdict"):
        table.add_column(title, overflow="fold")
    for name in first.figures:
        table.add_column(f"{name} [95%]", justify="right")
    for result in results:
        info = result.info
        table.add_row(
            result.variant,
            f"{info.backend} {info.provider.removesuffix('ExecutionProvider')}",
            info.precision,
            _verdict(manifest, result.variant) or "-",
            *(_cell(figure) for figure in result.figures.values()),
        )
    for name, differences in comparison.items():
        table.add_row(
            f"{name} - {first.variant}", "", "", "", *(_cell(one, sign="+") for one in differences.values())
        )
    console.print(table, markup=False)
    if per_class and first.per_class:
        console.print(_class_table(results), markup=False)
        for result in results:
            if 0 < len(result.confusion) <= _LISTED:
                console.print(_confusion_table(result), markup=False)
    for line in _remarks(labeled, results):
        console.print(line, highlight=False, markup=False)


def _class_table(results: list[EvaluationResult]) -> Any:
    from rich.table import Table

    table = Table(title="by class", title_justify="left")
    table.add_column("class")
    for result in results:
        for key in next(iter(result.per_class.values())):
            table.add_column(f"{result.variant} {key}", justify="right")
    for name in results[0].per_class:
        values = [value for result in results for value in result.per_class[name].values()]
        table.add_row(name, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


def _confusion_table(result: EvaluationResult) -> Any:
    """Return frames by their class (rows) and the class found (columns)."""
    from rich.table import Table

    columns = list(
        dict.fromkeys([*result.confusion, *(name for row in result.confusion.values() for name in row)])
    )
    table = Table(title=f"{result.variant}: class (row), found as (column)", title_justify="left")
    for name in ("", *columns):
        table.add_column(name, justify="right" if name else "left")
    for name, row in result.confusion.items():
        table.add_row(name, *(str(row.get(column, 0)) for column in columns))
    return table


def _cell(figure: Figure, sign: str = "") -> str:
    def digits(value: float) -> str:
        return format(value, f"{sign}.4f")

    return f"{digits(figure.value)} [{digits(figure.low)} {digits(figure.high)}]"


def _remarks(labeled: LabeledData, results: list[EvaluationResult]) -> list[str]:
    first = results[0]
    lines = [f"Data: {first.data}, {len(first.indices)} of {len(labeled)} frames."]
    if labeled.class_names:
        names = [*first.per_class] or list(labeled.class_names)
        more = f" and {len(names) - _LISTED} more (--per-class)" if len(names) > _LISTED else ""
        lines.append(f"{len(names)} classes: {', '.join(names[:_LISTED])}{more}.")
    if first.settings:
        lines.append(
            "Score threshold {score_threshold:g}, NMS IoU {nms_iou_threshold:g}, at most {max_detections} "
            "boxes a frame.".format(**first.settings)
        )
    how = "single frames" if first.block_length == 1 else f"blocks of {first.block_length} frames"
    lines.append(f"Intervals: {first.resamples} resamples, {how}; differences are paired by frame.")
    return [*lines, *first.notes]
