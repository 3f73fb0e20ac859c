"""A bundle: the directory that carries one trained ensemble from training to serving, verified at both ends.

Running its graph is left to `service.ensemble`, where bundles are kept to `service.bundles.bundle_store`.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from service.contracts import FieldSpec, Frozen, MemberKind, Modality
from service.errors import BundleRefused
from service.features.encoder import Encoding
from service.taxonomy import Taxonomy

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"
GRAPH = "ensemble.onnx"
ENCODING = "encoding.json"
GOLDEN = "golden.npz"
NO_DIGEST = "0" * 64
GOLDEN_TOLERANCE = 1e-4  # another processor may round differently; a damaged weight is off by far more


class FileDigest(Frozen):
    """What a file of the bundle must be, to the bit."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)  # bytes


class MemberCard(Frozen):
    """One member: what it is, what it reads, and its stacking weight per class."""

    name: str
    kind: MemberKind
    modalities: tuple[Modality, ...] = Field(min_length=1)  # it abstains when none of them is present
    weights: tuple[float, ...]  # per class, non-negative, sum 1 over the members


class Histogram(Frozen):
    """A reference distribution: `counts` has one bin more than `edges`, the outer bins open."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _check_bins(self) -> Histogram:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts, not {len(self.counts)}")
        return self


class Reference(Frozen):
    """What held-out training data looked like through this bundle, for drift.

    Fields: numerical columns, and for every text, categorical and image column the share of products that lack it.
    """

    n_products: int = Field(ge=0)
    classes: dict[str, Histogram] = Field(default_factory=dict)
    numerical: dict[str, Histogram] = Field(default_factory=dict)
    categorical: dict[str, dict[str, int]] = Field(
        default_factory=dict
    )  # column -> value -> count, the most frequent values
    others: dict[str, int] = Field(default_factory=dict)  # column -> count of all its other values
    missing: dict[str, float] = Field(default_factory=dict)  # column -> share in [0, 1]


class Manifest(Frozen):
    """Everything about a bundle but its weights."""

    format: Literal[1] = FORMAT
    version: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{2,62}$")
    created_at: datetime
    catalogue: str
    fields: FieldSpec
    taxonomy: Taxonomy
    thresholds: tuple[float, ...]  # per class: positive where probability >= threshold; 1 where not trained
    priors: tuple[float, ...]  # per class: the positive rate in training, or what is taken for it
    trainable: tuple[bool, ...]  # per class: False means the probability is the prior
    members: tuple[MemberCard, ...] = Field(min_length=1)
    metrics: dict[str, Any] = Field(default_factory=dict)
    reference: Reference
    provenance: dict[str, Any] = Field(default_factory=dict)
    example: dict[str, Any]  # a product as a feed has it, for the docs page; without an image
    files: dict[str, FileDigest]
    digest: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$"
    )  # SHA-256 of this file with noughts in its place

    @model_validator(mode="after")
    def _check_reference(self) -> Manifest:
        others = self.reference.numerical.keys() - set(self.fields.numerical)
        if others:
            raise ValueError(f"the reference has numbers of columns that hold none: {', '.join(sorted(others))}")
        return self


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files all have the digests that its manifest names."""

    manifest: Manifest
    encoding: Encoding
    graph: bytes
    golden_inputs: dict[str, NDArray[Any]]
    golden_outputs: dict[str, NDArray[np.float32]]


def digest(content: bytes) -> FileDigest:
    """Size and SHA-256 of a file's content."""
    return FileDigest(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def pack_golden(inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[np.float32]]) -> bytes:
    """One batch of graph inputs with the outputs expected of it, as an .npz file without pickles."""
    buffer = io.BytesIO()
    arrays = {f"in/{name}": array for name, array in inputs.items()}
    arrays |= {f"out/{name}": array for name, array in outputs.items()}
    np.savez(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file by name, read without pickles.

    Raises
    ------
    ValueError
        If it is none, or is damaged.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception as error:  # zipfile, zlib, tokenize and numpy each have names of their own for it
        raise ValueError(f"no whole .npz file: {type(error).__name__}") from error


def write_bundle(directory: Path, manifest: Mapping[str, Any], *, files: Mapping[str, bytes]) -> Manifest:
    """Write `files` (graph, encoding, golden batch) and a manifest that pins them; the manifest comes last.

    Parameters
    ----------
    manifest : the fields of `Manifest` but `files`
    """
    complete = Manifest.model_validate({**manifest, "files": {name: digest(data) for name, data in files.items()}})
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return _write_manifest(directory, complete)


def read_manifest(directory: Path) -> Manifest:
    """Read and validate the manifest alone.

    Raises
    ------
    BundleRefused
        If it is missing, is no JSON, or has a field we do not know.
    """
    try:
        content = _read(directory, MANIFEST)
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BundleRefused(f"{MANIFEST} is not valid at {where}: {first['msg']}; train or import it anew") from error
    if manifest.digest is not None and _digest_without_itself(content, manifest.digest) != manifest.digest:
        raise BundleRefused(f"{MANIFEST} is not as it was written; train or import it anew")
    return manifest


def read_bundle(directory: Path) -> Bundle:
    """Read a bundle into memory and check every file against the manifest.

    Raises
    ------
    BundleRefused
        If a file is missing, is a link, or differs in size or SHA-256 from what the manifest says.
    """
    manifest = read_manifest(directory)
    content = {name: verified_content(directory, name, manifest) for name in (GRAPH, ENCODING, GOLDEN)}
    _check_shapes(manifest)
    try:
        encoding = Encoding.model_validate(json.loads(content[ENCODING]))
        golden = unpack_arrays(content[GOLDEN])
    except ValueError as error:
        raise BundleRefused(
            f"{directory.name}: {ENCODING} or {GOLDEN} cannot be read: {type(error).__name__}"
        ) from error
    return Bundle(manifest, encoding, content[GRAPH], _under("in/", golden), _under("out/", golden))


def verified_content(directory: Path, name: str, manifest: Manifest) -> bytes:
    """Content of one file of a bundle, which is to the bit what its manifest names.

    Raises
    ------
    BundleRefused
        If it is not, or there is no such file.
    """
    expected = manifest.files.get(name)
    if expected is None:
        raise BundleRefused(f"{directory.name}: the manifest names no {name}")
    content = _read(directory, name)
    if digest(content) != expected:
        raise BundleRefused(f"{directory.name}: {name} is not the file the manifest names (SHA-256 or size differs)")
    return content


def _write_manifest(directory: Path, manifest: Manifest) -> Manifest:
    blank = manifest.model_copy(update={"digest": NO_DIGEST}).model_dump_json(indent=1).encode()
    sealed = manifest.model_copy(update={"digest": hashlib.sha256(blank).hexdigest()})
    (directory / MANIFEST).write_bytes(sealed.model_dump_json(indent=1).encode())
    return sealed


def _digest_without_itself(content: bytes, digest: str) -> str:
    return hashlib.sha256(content.replace(digest.encode(), NO_DIGEST.encode())).hexdigest()


def _read(directory: Path, name: str) -> bytes:
    path = directory / name
    if path.is_symlink() or not path.is_file():
        raise BundleRefused(f"{directory.name}: {name} is missing or no plain file; train or import it anew")
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleRefused(f"{directory.name}: {name} cannot be read: {type(error).__name__}") from error


def _check_shapes(manifest: Manifest) -> None:
    n_classes = len(manifest.taxonomy)
    per_class = {"thresholds": manifest.thresholds, "priors": manifest.priors, "trainable": manifest.trainable}
    per_class |= {f"weights of {member.name}": member.weights for member in manifest.members}
    for name, values in per_class.items():
        if len(values) != n_classes:
            raise BundleRefused(f"the manifest has {len(values)} {name} for {n_classes} classes")


def _under(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
