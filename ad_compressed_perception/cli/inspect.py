# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``adcp inspect``: contents of a model file, and the layers that the runtime executes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ad_compressed_perception.cli import options as o
from ad_compressed_perception.cli.exit_codes import ExitCode
from ad_compressed_perception.cli.output import new_table, table_console
from ad_compressed_perception.core.errors import AdcpError

if TYPE_CHECKING:
    from rich.console import Console

    from ad_compressed_perception.analysis.inspect import Inspection
    from ad_compressed_perception.report.schemas.inspection import Profile


def inspect(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL_DIR|FILE", help="Folder with model.yaml, or an ONNX or .tflite file."),
    ],
    variant: Annotated[
        str | None, typer.Option(metavar="VARIANT", help="Only this variant; all of them by default.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Compile with this backend instead of the variant's own.")
    ] = None,
    work: o.WorkToRead = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also time the layers of VARIANT (the baseline) on this host.")
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="Inferences that --profile measures.")] = 30,
    as_json: o.AsJson = False,
) -> None:
    """Show precision and kernel of every executed layer, integer coverage, MACs, memory and size.

    Without --variant all variants are summarized and the baseline's layers are listed. Rejected
    variants may be inspected. With --profile the layers are listed by time, and each kind of operator
    with its share. Float layers beside integer ones are listed with the reason.
    """
    from ad_compressed_perception.report.schemas.inspection import InspectionReport, Layers

    name, shown, inspections, errors = _inspect_all(model, variant, backend, work)
    profiled = _profile(model, shown, backend, work, runs) if profile else None
    if as_json:
        document = InspectionReport(
            model=name,
            variants={key: found.document() for key, found in inspections.items()},
            errors=errors,
            layers=Layers(variant=shown, rows=inspections[shown].layer_rows()),
            profile=profiled,
        )
        print(document.to_json())
    else:
        console = table_console()
        _print_summary(console, name, inspections, errors)
        if profiled is None:
            _print_layers(console, inspections[shown])
        else:
            _print_profile(console, profiled)
        _print_float_layers(console, inspections[shown])
    raise typer.Exit(ExitCode.ERROR if errors else ExitCode.OK)


def _inspect_all(
    model: Path, variant: str | None, backend: str | None, work: Path | None
) -> tuple[str, str, dict[str, Inspection], dict[str, str]]:
    """Return the model's name, the variant whose layers to list, the inspections and the errors."""
    from ad_compressed_perception.analysis.inspect import inspect_file, inspect_variant, usual_backend
    from ad_compressed_perception.backends.checked_load import try_load
    from ad_compressed_perception.cli.models import open_model
    from ad_compressed_perception.workspace.find import find_all

    if _is_file(model):
        if variant is not None:
            raise typer.BadParameter("--variant needs a model folder, not a file")
        try_load(backend or usual_backend(model), model, {})
        found = inspect_file(model, backend=backend or usual_backend(model), measure_memory=True)
        return model.name, model.name, {model.name: found}, {}
    manifest = open_model(model, work, variant)
    shown = variant or manifest.baseline
    owners = {shown: manifest} if variant else find_all(manifest, work)
    inspections = {shown: inspect_variant(owners[shown], shown, backend=backend, measure_memory=True)}
    errors = {}
    for name, owner in owners.items():
        if name == shown:
            continue
        try:
            inspections[name] = inspect_variant(owner, name, backend=backend)
        # A missing file or runtime of one variant must not hide the others.
        except AdcpError as error:
            errors[name] = str(error)
    return manifest.name, shown, inspections, errors


def _is_file(model: Path) -> bool:
    from ad_compressed_perception.core.manifest import MANIFEST_NAME

    return model.name != MANIFEST_NAME and not model.is_dir() and bool(model.suffix)


def _profile(model: Path, shown: str, backend: str | None, work: Path | None, runs: int) -> Profile:
    from ad_compressed_perception.analysis.inspect import usual_backend
    from ad_compressed_perception.analysis.profile import profile_file, profile_variant
    from ad_compressed_perception.cli.models import open_model

    if _is_file(model):
        return profile_file(model, backend=backend or usual_backend(model), runs=runs)
    return profile_variant(open_model(model, work, shown), shown, backend=backend, runs=runs)


def _print_summary(
    console: Console, name: str, inspections: dict[str, Inspection], errors: dict[str, str]
) -> None:
    figures = (">integer", ">size KiB", ">RAM MiB", ">MMAC", ">parameters", ">opset")
    table = new_table(name, "variant", "backend", "precision", *figures, "verdict")
    for key, found in inspections.items():
        costs, info = found.costs, found.info
        unknown = " +?" if costs.layers_without_macs else ""
        table.add_row(
            key,
            f"{info.backend} {info.provider.removesuffix('ExecutionProvider')}",
            info.precision,
            f"{found.integer_layers}/{found.compute_layers}",
            f"{costs.size_bytes / 1024:,.0f}",
            _megabytes(found),
            f"{costs.macs / 1e6:,.1f}{unknown}",
            f"{costs.parameters:,}",
            str(costs.opset or "-"),
            found.verdict.status if found.verdict else "-",
        )
    console.print(table)
    console.print("RAM: peak memory of loading and running it once", highlight=False)
    for found in inspections.values():
        if found.costs.layers_without_macs:
            console.print(
                f"{found.name}: sizes of {found.costs.layers_without_macs} layers are not known before "
                "the model runs; their MACs are not counted"
            )
        if found.costs.denormal_weights:
            console.print(
                f"{found.name}: {found.costs.denormal_weights:,} weights are denormal (below 1.2e-38); "
                "runtimes that do not flush them to zero may run many times slower"
            )
    for key, message in errors.items():
        console.print(f"{key}: not inspected: {message}", highlight=False, markup=False)


def _megabytes(found: Inspection) -> str:
    memory = found.memory
    if memory is None:
        return "-"
    taken = memory.peak_bytes if memory.peak_bytes is not None else memory.running_bytes
    return f"{taken / 2**20:,.1f}"


def _print_float_layers(console: Console, found: Inspection) -> None:
    if not found.float_layers:
        return
    table = new_table(f"float layers of {found.name}", "layer", "why")
    for layer in found.float_layers:
        table.add_row(layer.name, layer.why)
    console.print(table, markup=False)


def _print_layers(console: Console, found: Inspection) -> None:
    info = found.info
    for title, specs in (("input", info.inputs), ("output", info.outputs)):
        for spec in specs:
            shape = ", ".join("?" if size is None else str(size) for size in spec.shape)
            console.print(f"{title} {spec.name}: {spec.dtype}[{shape}]", highlight=False, markup=False)
    if found.output is not None:
        options = ", ".join(f"{key}: {value}" for key, value in found.output.options.items())
        shown = f"decoder {found.output.decoder}{f' ({options})' if options else ''}"
        console.print(shown, highlight=False, markup=False)
    title = f"layers of {found.name} as {info.backend} {info.version} runs them"
    table = new_table(title, ">#", "layer", "operator", "precision", "kernel", ">kMAC")
    for index, layer in enumerate(found.layers):
        record = layer.record
        table.add_row(
            str(index),
            record.name.partition(",")[0],
            record.operator,
            record.precision,
            record.kernel,
            "" if layer.macs is None else f"{layer.macs / 1e3:,.0f}",
        )
    console.print(table, markup=False)


def _print_profile(console: Console, found: Profile) -> None:
    threads = f"{found.threads} threads" if found.threads != 1 else "1 thread"
    console.print(
        f"{found.variant} on {found.backend} {found.backend_version}, {threads}: {found.infer_ms:.3f} ms per "
        f"inference; sum of the profiled layers {found.layers_ms:.3f} ms (medians of {found.runs} runs)",
        highlight=False,
    )
    table = new_table("by operator", "operator", "precision", ">layers", ">ms", ">share")
    for total in found.operators:
        row = (total.operator, total.precision, str(total.count), f"{total.ms:.3f}", f"{total.share:.1%}")
        table.add_row(*row)
    console.print(table, markup=False)
    figures = (">ms", ">share", ">kMAC", ">GMAC/s")
    title = "by layer, the costliest first"
    table = new_table(title, "layer", "operator", "precision", "kernel", *figures)
    for layer in sorted(found.layers, key=lambda layer: -layer.ms):
        speed = layer.gmacs_per_s
        table.add_row(
            layer.name.partition(",")[0],
            layer.operator,
            layer.precision,
            layer.kernel,
            f"{layer.ms:.3f}",
            f"{layer.share:.1%}",
            "" if layer.macs is None else f"{layer.macs / 1e3:,.0f}",
            "" if speed is None else f"{speed:.1f}",
        )
    console.print(table, markup=False)
