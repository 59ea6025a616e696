# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Labeled data of a model with one task or with several heads: a choice and a check for each head.

Of a model with one task there is one head, called "". Labeled data of heads is given as
``HEAD=SPEC[,HEAD=SPEC]``; a head that is not named is compared with the baseline only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from ad_compressed_perception.compression.recipe import LoadedRecipe
from ad_compressed_perception.compression.verification.labeled_check import (
    LabeledCheck,
    LabeledChoice,
    LabeledFrames,
    check_labeled,
    open_choice,
)
from ad_compressed_perception.compression.verification.task_scores import accept_of_head
from ad_compressed_perception.core.errors import DataError
from ad_compressed_perception.core.manifest import Manifest
from ad_compressed_perception.core.progress import Advance, no_advance
from ad_compressed_perception.tasks.pipeline import Pipeline, heads_of


def split_by_head(text: str, heads: Iterable[str], model: str) -> dict[str, str]:
    """Read ``HEAD=SPEC[,HEAD=SPEC]``; raise DataError where a head is not named, unknown or given twice."""
    known = list(heads)
    beginning = "|".join(re.escape(name) for name in known)
    parts = re.split(rf",(?=(?:{beginning})=)", text)
    found: dict[str, str] = {}
    for part in parts:
        name, equals, spec = part.partition("=")
        if not equals or name not in known or not spec:
            raise DataError(
                f"{model!r} has several heads: write HEAD=SPEC[,HEAD=SPEC] instead of {part!r}; heads: "
                f"{', '.join(known)}"
            )
        if name in found:
            raise DataError(f"labeled data of head {name!r} is given twice: {text!r}")
        found[name] = spec
    return found


def open_choices(
    manifest: Manifest, recipe: LoadedRecipe, choice: LabeledChoice | None
) -> dict[str, LabeledFrames]:
    """Open the labeled data of every head that has some; see open_choice.

    Raises:
        RecipeError: a head's accuracy is limited and no data was given for it, or it lacks the metric.
        DataError: the data is missing, malformed or empty, or does not say which head it is for.
    """
    if manifest.outputs is None:
        opened = open_choice(manifest, recipe, choice)
        return {} if opened is None else {"": opened}
    specs = {} if choice is None else split_by_head(choice.spec, manifest.outputs, manifest.name)
    given_maps = choice.label_map if choice is not None else None
    maps = dict.fromkeys(specs, given_maps)
    if given_maps is not None and "=" in given_maps:
        maps = dict(split_by_head(given_maps, manifest.outputs, manifest.name))
    found = {}
    for name in manifest.outputs:
        terms = accept_of_head(recipe.recipe.accept, manifest, name)
        of_head = None
        if choice is not None and name in specs:
            of_head = replace(choice, spec=specs[name], label_map=maps.get(name))
        opened = open_choice(manifest.head(name), recipe, of_head, terms)
        if opened is not None:
            found[name] = opened
    return found


def check_all(
    baseline: Pipeline,
    variant: Pipeline,
    labeled: Mapping[str, LabeledFrames],
    advance: Advance = no_advance,
) -> dict[str, LabeledCheck]:
    """Compare both on the labeled data of each head; see check_labeled."""
    if not labeled:
        return {}
    first, second = heads_of(baseline), heads_of(variant)
    return {name: check_labeled(first[name], second[name], data, advance) for name, data in labeled.items()}
