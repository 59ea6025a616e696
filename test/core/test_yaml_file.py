# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""YAML of unknown origin: every fault is one line that names file and line, in bounded time."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ad_compressed_perception.core import yaml_file
from ad_compressed_perception.core.errors import ManifestError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.yaml_file import YamlError, parse_yaml, read_yaml_mapping
from ad_compressed_perception.workspace.save_manifest import save_manifest
from support.models import write_detector

# 9^9 values from a few hundred bytes, as lists, and as merge keys (60 s from 10 kB before).
LIST_BOMB = "a0: &a0 [x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}], k{n}: 1}}\n" for n in range(1, 10)
)
ALIAS_CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is given twice"),
        ("a:\n  b: 1\n  8: 2\n", "line 3: the key '8' is not text"),
        ("a: 1\ntrue: 2\n", "line 2: the key 'true' is not text"),
        ("? [a]\n: 1\n", "line 1: the key a list or mapping is not text"),
        ("a: 1\nb: .nan\n", "line 2: '.nan' is not a finite number"),
        ("a: -.INF\n", "line 1: '-.INF' is not a finite number"),
        ("a: 1.0e+999\n", "is not a finite number"),
        ("a: " + "9" * 100_000, "line 1: a number of 100000 characters"),
        ("a: 1" + ":59" * 5000, "a number of 15001 characters"),
        ("a: !!timestamp x\n", "line 1: values of the type 'tag:yaml.org,2002:timestamp' are not read"),
        ("a: 1\nb: !!binary ;\n", "line 2: values of the type 'tag:yaml.org,2002:binary'"),
        ("a: !!set {b}\n", "line 1: values of the type 'tag:yaml.org,2002:set'"),
        ("a: !!int x\n", "line 1: 'x' is no int"),
        ("a: !!bool x\n", "line 1: 'x' is no bool"),
        ("a: !!int ''\n", "line 1: '' is no int"),
        (
            "a: !!python/name:os.system\n",
            "line 1: values of the type 'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("[" * 100_000, "line 1: nested more than 32 levels"),
        ("- " * 100_000, "line 1: nested more than 32 levels"),
        ("a: &a [*a]\n", "line 1: the alias 'a' has no anchor before it, or is inside it"),
        (ALIAS_CHAIN, "nested more than 32 levels"),
        (LIST_BOMB, "more than 50000 values"),
        (MERGE_BOMB, "more than 50000 values"),
        ("a: {<<: 5}\n", "line 1: expected a mapping"),
        ("a: 1\n--- \nb: 2\n", "line 2"),
        ("a: \x00\n", "line 1: character"),
        ("".join(f"%TAG !{n}! x\n" for n in range(50_000)) + "--- a\n", "%TAG"),
        ("x" * (yaml_file.MAX_BYTES + 1), "more than 1048576 characters"),
        ("a: [1, 2", "line"),
    ],
    ids=lambda value: value[:24],
)
def test_a_fault_is_one_short_line_in_bounded_time(text: str, words: str) -> None:
    start = time.process_time()
    with pytest.raises(YamlError) as caught:
        parse_yaml(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert time.process_time() - start < 20.0  # the bombs took minutes; usual: below 0.1 s


def test_the_largest_document_allowed_takes_seconds_at_most() -> None:
    text = "{" + ", ".join(f"k{n}: {n}.5" for n in range(yaml_file.MAX_NODES // 2 - 1)) + "}"
    start = time.process_time()
    assert len(parse_yaml(text)) == yaml_file.MAX_NODES // 2 - 1
    assert time.process_time() - start < 60.0


def test_dates_stay_text_and_aliases_and_merge_keys_work() -> None:
    """`x: 2020-99-99` was a ValueError of the date's constructor, through every except clause."""
    text = "base: &b {x: 1, y: 2}\nown: {<<: *b, y: 3}\nagain: *b\nday: 2020-99-99\n"
    assert parse_yaml(text) == {
        "base": {"x": 1, "y": 2},
        "own": {"x": 1, "y": 3},
        "again": {"x": 1, "y": 2},
        "day": "2020-99-99",
    }
    assert parse_yaml("a: 1\na: .inf", strict=False) == {"a": float("inf")}  # ROS 2's parameter files


def test_a_file_that_is_no_readable_text_is_refused(tmp_path: Path) -> None:
    """A pipe would never end, a folder and bytes of another encoding raised errors of other types."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "latin").write_bytes("a: 1\nb: käfer\n".encode("latin-1"))
    (tmp_path / "utf16").write_bytes("a: 1\n".encode("utf-16"))
    (tmp_path / "huge").write_bytes(b"#" * (yaml_file.MAX_BYTES + 1))
    for name, words in {
        "pipe": "not a regular file",
        "folder": "not a regular file",
        "latin": "line 2: not UTF-8",
        "utf16": "not UTF-8",
        "huge": "larger than 1024 KiB",
        "nothing": "No such file",
        "n" * 5000: "name too long",
        "null\0": "null",
    }.items():
        with pytest.raises(ManifestError, match=words) as caught:
            read_yaml_mapping(tmp_path / name, "manifest", ManifestError)
        assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml_mapping(tmp_path / "bom.yaml", "manifest", ManifestError) == {"a": 1}


def test_a_wrong_value_names_the_line_of_its_key(tmp_path: Path) -> None:
    folder = write_detector(tmp_path)
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    place = text.splitlines().index("  width: 64") + 1
    (folder / "model.yaml").write_text(text.replace("  width: 64", f"  width: {'x' * 9000}"))
    with pytest.raises(ManifestError, match=rf"model\.yaml, line {place}: input\.width") as caught:
        load_manifest(folder)
    assert len(str(caught.value)) < 600


def test_a_figure_that_is_not_finite_is_saved_as_absent(tmp_path: Path) -> None:
    """A manifest that the package itself writes can always be read."""
    manifest = load_manifest(write_detector(tmp_path))
    manifest.variants["fp32"].figures = {"ratio": float("nan"), "times": [float("inf"), 1.0]}
    save_manifest(manifest, tmp_path)
    assert load_manifest(tmp_path).variant("fp32").figures == {"ratio": None, "times": [None, 1.0]}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
    lambda parts: (
        st.lists(parts, max_size=4) | st.dictionaries(st.text("abc09-~", max_size=6), parts, max_size=4)
    ),
    max_leaves=20,
)


@given(_VALUES)
def test_what_the_package_writes_is_read_as_it_was(value: object) -> None:
    import yaml

    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value


@given(st.text(max_size=200) | st.text("[]{}&*<:,-!%?|>#'\" \n\tab01.", max_size=200))
def test_any_text_is_a_value_or_a_fault(text: str) -> None:
    try:
        parse_yaml(text)
    except YamlError as error:
        assert "\n" not in str(error)
