# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp evaluate``: accuracy of variants on labeled data, with confidence intervals."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.output import new_table, table_console

if TYPE_CHECKING:
    from ad_compressed_perception.analysis.evaluate import EvaluationResult
    from ad_compressed_perception.analysis.saved_results import SavedResults
    from ad_compressed_perception.core.manifest import Manifest, VerdictStatus
    from ad_compressed_perception.data.labeled.dataset import LabeledData
    from ad_compressed_perception.metrics.interval import Interval
    from ad_compressed_perception.report.schemas.evaluation import Evaluation

_LISTED = 12


def evaluate(
    model_dir: o.ModelFolder,
    data: Annotated[str, typer.Option(metavar="SPEC", help="FOLDER, LABELS or LABELS@FRAMES, see above.")],
    variant: Annotated[
        str | None,
        typer.Option(
            metavar="A[,B]",
            help="Variants; those after the first are compared with it (default: the baseline).",
        ),
    ] = None,
    head: Annotated[
        str | None, typer.Option(metavar="HEAD", help="Of a model with several heads: the one to evaluate.")
    ] = None,
    label_map: o.LabelMap = None,
    from_share: o.FromShare = 0.0,
    to_share: o.ToShare = 1.0,
    limit: o.LabeledLimit = None,
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
    save: Annotated[
        Path | None, typer.Option(metavar="DIR", help="New folder for the results of every variant.")
    ] = None,
    save_format: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="coco (default), yolo, voc, kitti, bdd100k; masks (default), cityscapes; csv; jsonl.",
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Detection: also evaluate the COCO results of another program; may be repeated.",
        ),
    ] = None,
    max_bad_frames: o.MaxBadFrames = None,
    tolerance_ms: o.Tolerance = o.TOLERANCE_MS,
    backend: o.OtherBackend = None,
    threads: o.Threads = None,
    work: o.WorkToRead = None,
    per_class: Annotated[
        bool, typer.Option(help="Also show every class (detection, classification).")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the JSON document to this file, too.")
    ] = None,
    as_json: o.AsJson = False,
) -> None:
    """Measure the accuracy of variants on labeled data, each figure with its 95% interval.

    What SPEC means follows from the model's task.

    Detection (mAP, AP50; categories and labels are matched by name):
    a FOLDER with instances.json (COCO) and images/, or FILE.json@IMAGES; also BDD100K (FILE.json@IMAGES),
    YOLO (data.yaml or its FOLDER), Pascal VOC (Annotations/) and KITTI (label_2/, image_2/).

    Segmentation (IoU of each class, mean IoU), with --label-map or labels.json beside the masks:
    a FOLDER with images/ and masks/, or MASKS@IMAGES; also a FOLDER of Cityscapes (gtFine/, leftImg8bit/).

    Classification (accuracy, mean recall; --per-class: recall, precision, confusion):
    a FOLDER with a folder of images for each class, or labels.csv (file,label), or FILE.csv@IMAGES.

    Planning (RMSE, MAE, correlation of the steering-wheel angle; with trajectories ADE and FDE):
    a FOLDER with steering.csv (stamp_ns,steering_angle_rad) or trajectories.jsonl and images/,
    or FILE@IMAGES, or FILE@BAG:TOPIC.

    A model with several heads is evaluated head by head: --head names the one that SPEC is for.

    Variants that the gate rejected are evaluated too, and marked.
    """
    from ad_compressed_perception.analysis.evaluate import DETECTION_SETTINGS, compare
    from ad_compressed_perception.analysis.evaluate_results_file import evaluate_results_file
    from ad_compressed_perception.analysis.evaluate_variants import evaluate_variants
    from ad_compressed_perception.analysis.saved_results import SavedResults, check_format, new_folder
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.cli.progress_bar import ProgressBar
    from ad_compressed_perception.data.bad_frames import parse_limit
    from ad_compressed_perception.data.labeled.boxes import BoxData
    from ad_compressed_perception.data.labeled.dataset import choose_indices
    from ad_compressed_perception.data.labeled.open import open_labeled
    from ad_compressed_perception.tasks.pipeline import of_head, open_head

    names = list(o.names_in(variant, "--variant") or ())
    manifest = open_model(model_dir, work, names)
    names = names or [manifest.baseline]
    whole, manifest = manifest, of_head(manifest, head, "--head")
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
    if save_format is not None and save is None:
        raise typer.BadParameter("--save-format needs --save DIR")
    if results and not isinstance(labeled, BoxData):
        raise typer.BadParameter(f"--results is for detection, {manifest.name} is for {manifest.task}")
    writers: dict[str, SavedResults] = {}
    if save is not None:
        file_format = check_format(manifest.task, save_format)
        folder = new_folder(save)
        writers = {name: SavedResults(folder, name, file_format, labeled) for name in names}
    opened = partial(open_head, whole, head, backend=backend, options=options, allow_rejected=True)
    watches = {name: writer.keep for name, writer in writers.items()}
    with ProgressBar() as bar:
        measured = evaluate_variants(opened, names, labeled, indices, settings, bar, watches)
    for path in results or ():
        assert isinstance(labeled, BoxData)
        measured.append(
            evaluate_results_file(path, labeled, manifest.labels, indices, settings, manifest.name)
        )
    saved = list(dict.fromkeys(path for writer in writers.values() for path in writer.write()))
    comparison = {result.variant: compare(measured[0], result) for result in measured[1:]}
    document = _document(manifest, labeled, measured, comparison)
    document.saved = [str(path) for path in saved]
    if out is not None:
        document.write(out)
    if as_json:
        print(document.to_json())
    else:
        _print_tables(manifest, labeled, measured, comparison, per_class)
        for path in saved:
            print(f"saved: {path}")


def _document(
    manifest: Manifest,
    labeled: LabeledData,
    results: list[EvaluationResult],
    comparison: dict[str, dict[str, Interval]],
) -> Evaluation:
    from ad_compressed_perception.report.schemas.evaluation import Difference, Evaluation, LabeledSource

    first = results[0]
    return Evaluation(
        model=manifest.name,
        task=manifest.task,
        data=LabeledSource(
            source=labeled.describe,
            available=len(labeled),
            evaluated=len(first.indices),
            classes=list(labeled.class_names),
        ),
        settings=first.settings,
        lower_is_better=sorted(first.score.lower_is_better),
        variants={one.variant: one.document(_verdict(manifest, one.variant)) for one in results},
        comparison={
            name: Difference(reference=first.variant, difference=figures)
            for name, figures in comparison.items()
        },
    )


def _verdict(manifest: Manifest, variant: str) -> VerdictStatus | None:
    if variant not in manifest.variants:  # results of another program
        return None
    verdict = manifest.variant(variant).verdict
    return verdict.status if verdict else None


def _print_tables(
    manifest: Manifest,
    labeled: LabeledData,
    results: list[EvaluationResult],
    comparison: dict[str, dict[str, Interval]],
    per_class: bool,
) -> None:
    from ad_compressed_perception.report.kit.figures import interval_text

    console = table_console()
    first = results[0]
    title = f"{manifest.name}: accuracy on {len(first.indices)} frames"
    figures = [f">{name} (95 %)" for name in first.figures]
    table = new_table(title, "variant", "backend", "precision", "verdict", *figures)
    for result in results:
        info = result.info
        table.add_row(
            result.variant,
            f"{info.backend} {info.provider.removesuffix('ExecutionProvider')}",
            info.precision,
            _verdict(manifest, result.variant) or "-",
            *(interval_text(figure, 4) for figure in result.figures.values()),
        )
    for name, differences in comparison.items():
        table.add_row(
            f"{name} - {first.variant}",
            "",
            "",
            "",
            *(interval_text(one, 4, sign="+") for one in differences.values()),
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
    columns = [f">{one.variant} {key}" for one in results for key in next(iter(one.per_class.values()))]
    table = new_table("by class", "class", *columns)
    for name in results[0].per_class:
        values = [value for result in results for value in result.per_class[name].values()]
        table.add_row(name, *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    return table


def _confusion_table(result: EvaluationResult) -> Any:
    """Return frames by their class (rows) and the class found (columns)."""
    columns = list(
        dict.fromkeys([*result.confusion, *(name for row in result.confusion.values() for name in row)])
    )
    title = f"{result.variant}: class (row), found as (column)"
    table = new_table(title, "", *(f">{name}" for name in columns))
    for name, row in result.confusion.items():
        table.add_row(name, *(str(row.get(column, 0)) for column in columns))
    return table


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
