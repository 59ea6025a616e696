# Copyright 2026 The ad_compressed_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A signed model loads where its public key is required; anything else does not."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from ad_compressed_perception.core.errors import AdcpError, ManifestError, ModelFileError
from ad_compressed_perception.core.manifest import load_manifest
from ad_compressed_perception.core.signature import StaleSignatureWarning
from ad_compressed_perception.tasks.pipeline import open_pipeline
from ad_compressed_perception.workspace.sign import make_keys, sign_model, verify_model
from ad_compressed_perception.workspace.store import open_target, staging, store_variant
from support.models import write_detector

cryptography = pytest.importorskip("cryptography", reason="the extra [signature] is not installed")


@pytest.fixture
def private(tmp_path: Path) -> Path:
    make_keys(tmp_path / "fleet.pem")
    return tmp_path / "fleet.pem"


@pytest.fixture
def public(private: Path) -> Path:
    return private.with_name("fleet.pub.pem")


@pytest.fixture
def model(tmp_path: Path, private: Path) -> Path:
    """Return a signed model."""
    folder = write_detector(tmp_path / "model")
    assert sign_model(folder, private) == folder / "model.yaml.sig"
    return folder


def test_a_signed_model_loads(model: Path, public: Path, private: Path) -> None:
    open_pipeline(load_manifest(model, public_key=public)).close()
    open_pipeline(load_manifest(model)).close()  # nobody has to look at it
    assert verify_model(model, public).name == "tiny_detector"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def altered_manifest(model: Path) -> None:
    path = model / "model.yaml"
    path.write_text(path.read_text().replace("person", "nobody"))


def a_space_more(model: Path) -> None:
    path = model / "model.yaml"
    path.write_text(path.read_text() + " ")


def no_signature(model: Path) -> None:
    (model / "model.yaml.sig").unlink()


def cut_short(model: Path) -> None:
    path = model / "model.yaml.sig"
    path.write_bytes(path.read_bytes()[:-1])


def a_bit_of_the_signature(model: Path) -> None:
    path = model / "model.yaml.sig"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def another_key(model: Path) -> None:
    make_keys(model.parent / "stranger.pem")
    sign_model(model, model.parent / "stranger.pem")


def another_model(model: Path) -> None:
    """Take a right signature of the same key from another manifest."""
    other = write_detector(model.parent / "other", opset=14)
    sign_model(other, model.parent / "fleet.pem")
    shutil.copy(other / "model.yaml.sig", model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (altered_manifest, "no signature of model.yaml"),
        (a_space_more, "no signature of model.yaml"),
        (no_signature, "is not signed"),
        (cut_short, "damaged: 63 bytes"),
        (a_bit_of_the_signature, "no signature of model.yaml"),
        (another_key, "no signature of model.yaml"),
        (another_model, "no signature of model.yaml"),
    ],
)
def test_anything_else_is_refused(
    model: Path, public: Path, change: Callable[[Path], None], reason: str
) -> None:
    change(model)
    with pytest.raises(ManifestError, match=reason) as caught:
        load_manifest(model, public_key=public)
    assert "\n" not in str(caught.value)


def test_the_signature_covers_every_file(model: Path, public: Path, private: Path) -> None:
    """By their hashes; a model whose files are not as its manifest says is not signed in the first place."""
    path = model / "fp32.onnx"
    other = onnx.load(path)
    other.producer_name = "exchanged"
    onnx.save(other, path)
    for use in (lambda: open_pipeline(load_manifest(model, public_key=public)),
                lambda: verify_model(model, public),
                lambda: sign_model(model, private)):  # fmt: skip
        with pytest.raises(ModelFileError, match="sha256"):
            use()


def test_a_new_variant_makes_the_signature_stale(model: Path, public: Path, private: Path) -> None:
    """A warning when the variant is stored, a refusal where the key is required, until it is signed again."""
    manifest = load_manifest(model)
    target = open_target(manifest, None, True, "copy")
    with staging(model) as scratch, pytest.warns(StaleSignatureWarning, match="sign again"):
        built = scratch / "copy.onnx"
        shutil.copy(model / "fp32.onnx", built)
        entry = manifest.variant("fp32").model_copy(update={"file": "copy.onnx", "derived_from": "fp32"})
        store_variant(target, "copy", entry, built)
    with pytest.raises(ManifestError, match="sign again"):
        load_manifest(model, public_key=public)
    sign_model(model, private)
    assert "copy" in load_manifest(model, public_key=public).variants


def test_keys_of_other_types_and_no_keys_are_refused(model: Path, private: Path, public: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    other = model.parent / "p256.pem"
    other.write_bytes(
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for key, reason in (
        (other, "of another type"),
        (private, "no public key"),
        (model / "model.yaml", "no public key"),
        (model / "none.pem", "cannot read"),
    ):
        with pytest.raises(ManifestError, match=reason):
            load_manifest(model, public_key=key)
    with pytest.raises(ManifestError, match="no private key"):
        sign_model(model, public)
    with pytest.raises(ManifestError, match="exists"):
        make_keys(private)  # an earlier key is never overwritten


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_openssl_makes_keys_and_signatures_that_are_accepted(model: Path, tmp_path: Path) -> None:
    """So a key can live where the organization keeps its keys: the commands: docs/guides/security.md."""
    key, public, manifest = tmp_path / "own.pem", tmp_path / "own.pub.pem", model / "model.yaml"
    for command in (
        f"genpkey -algorithm ed25519 -out {key}",
        f"pkey -in {key} -pubout -out {public}",
        f"pkeyutl -sign -rawin -in {manifest} -inkey {key} -out {manifest}.sig",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    verify_model(model, public)
    sign_model(model, key)
    check = f"pkeyutl -verify -rawin -in {manifest} -pubin -inkey {public} -sigfile {manifest}.sig"
    subprocess.run(["openssl", *check.split()], check=True, capture_output=True)


def test_without_the_library_a_required_signature_is_refused(
    model: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never skipped silently; the package loads and runs without it as long as no key is given."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ManifestError, match=r"extra \[signature\]"):
        load_manifest(model, public_key=public)
    open_pipeline(load_manifest(model)).close()


def test_the_commands(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ad_compressed_perception.cli.sign import sign, verify_signature

    sign(model, tmp_path / "cli.pem", new_key=True)
    verify_signature(model, tmp_path / "cli.pub.pem")
    assert "all files as signed: tiny_detector, variants fp32" in capsys.readouterr().out
    altered_manifest(model)
    with pytest.raises(AdcpError):
        verify_signature(model, tmp_path / "cli.pub.pem")
