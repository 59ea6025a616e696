# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Maps class names of a data set to labels of a model, by name and never by index."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import StrictModel, describe_yaml_error
from ad_compressed_perception.core.resources import config_folder
from ad_compressed_perception.core.yaml_file import read_yaml_mapping

MAX_MASK_ID = 65535
NO_CLASS = -1
_REST = "background"
_LISTED = 12

_MaskId = Annotated[int, Field(ge=0, le=MAX_MASK_ID)]


class LabelClass(StrictModel):
    """One evaluated class: its names in the data set and in the model."""

    labels: list[str] = Field(min_length=1, description="the model's labels")
    mask_ids: list[_MaskId] = Field(default_factory=list, description="segmentation: ids in the masks")
    categories: list[str] = Field(default_factory=list, description="detection: names in the data set")


class LabelMap(StrictModel):
    """The evaluated classes; pixels and labels that none of them names are the class ``rest``."""

    classes: dict[str, LabelClass] = Field(min_length=1)
    rest: str = Field("background", description="segmentation: name of the remaining class")
    ignore_ids: list[_MaskId] = Field(default_factory=list, description="mask ids that do not count")
    ignore_categories: list[str] = Field(
        default_factory=list, description="detection: names whose boxes are regions where nothing counts"
    )

    @model_validator(mode="after")
    def _consistent(self) -> LabelMap:
        if self.rest in self.classes:
            raise ValueError(f"rest must not be the name of a class: {self.rest!r}")
        parts = self.classes.values()
        _refuse_repeated("label", (name for part in parts for name in part.labels))
        categories = [normalized(name) for part in parts for name in part.categories]
        _refuse_repeated("category", (*categories, *map(normalized, self.ignore_categories)))
        ids = [str(number) for part in parts for number in part.mask_ids]
        _refuse_repeated("mask id", (*ids, *map(str, self.ignore_ids)))
        return self


def _refuse_repeated(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} {', '.join(repeated)} is named more than once")


@dataclass(frozen=True)
class ClassTable:
    """The classes of an evaluation and the class of each model label.

    Attributes:
        names: the classes.
        of_label: (labels,) int64, index into ``names`` of each model label, or NO_CLASS.
    """

    names: tuple[str, ...]
    of_label: NDArray[np.int64]


def normalized(name: str) -> str:
    """Return a name without differences of case, of spaces, hyphens and underscores."""
    return " ".join(name.replace("_", " ").replace("-", " ").casefold().split())


def few(names: Iterable[str]) -> str:
    """Return a list for a message: the first names and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more


def table_of_map(label_map: LabelMap, labels: Sequence[str], *, with_rest: bool) -> ClassTable:
    """Return the classes of a label map for a model.

    Args:
        label_map: the map.
        labels: the model's labels.
        with_rest: add the class ``rest`` at the end and put every other label into it.

    Raises:
        DataError: the map names a label that the model does not have.
    """
    of_label = np.full(len(labels), len(label_map.classes) if with_rest else NO_CLASS, np.int64)
    for index, (name, part) in enumerate(label_map.classes.items()):
        for label in part.labels:
            if label not in labels:
                raise DataError(
                    f"label map, class {name}: the model has no label {label!r}; it has: {few(labels)}"
                )
            of_label[list(labels).index(label)] = index
    names = (*label_map.classes, label_map.rest) if with_rest else tuple(label_map.classes)
    return ClassTable(names, of_label)


def table_of_names(names: Sequence[str], labels: Sequence[str]) -> tuple[ClassTable, NDArray[np.int64]]:
    """Return the classes that a data set and a model both know by name, and the class of each id.

    Names that only one of them has belong to the class "background" where both have one, else to a further
    class of that name.

    Args:
        names: of the ids 0, 1, ... in the masks.
        labels: the model's labels.

    Returns:
        The classes, and (ids,) int64 indices into their names.

    Raises:
        DataError: they share no name but the background.
    """
    known = {normalized(name): name for name in labels}
    shared = [known[normalized(name)] for name in names if normalized(name) in known]
    if not set(shared) - {_REST}:
        raise DataError(
            f"no name of the masks' ids is a label of the model: {few(names)} against {few(labels)}; "
            "a label map can join them"
        )
    complete = len(shared) == len(names) == len(labels)
    classes = shared if complete or _REST in shared else [*shared, _REST]
    place = {normalized(name): index for index, name in enumerate(classes)}
    rest = place.get(_REST, NO_CLASS)
    of_label = np.array([place.get(normalized(label), rest) for label in labels], np.int64)
    of_id = np.array([place.get(normalized(name), rest) for name in names], np.int64)
    return ClassTable(tuple(classes), of_label), of_id


def shipped_label_maps() -> list[str]:
    """Return the names of the label maps that come with the package."""
    folder = config_folder("label_maps")
    return sorted(path.stem for path in folder.glob("*.yaml")) if folder else []


def load_label_map(name: str | Path) -> LabelMap:
    """Read a label map: a YAML file, or the name of one that comes with the package.

    Raises:
        DataError: there is none, or it is malformed; the one line names the key.
    """
    path = Path(name).expanduser()
    folder = config_folder("label_maps")
    if not os.path.isfile(path) and folder is not None and os.path.isfile(folder / f"{name}.yaml"):
        path = folder / f"{name}.yaml"
    if not os.path.isfile(path):
        known = ", ".join(shipped_label_maps()) or "none"
        raise DataError(f"no label map {name}: neither a file nor one of those shipped ({known})")
    data = read_yaml_mapping(path, "label map", DataError)
    try:
        return LabelMap.model_validate(data)
    except ValidationError as error:
        raise DataError(f"label map {describe_yaml_error(path, error)}") from error
