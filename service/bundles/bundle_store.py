"""Where bundles are kept: the BentoML model store, and a pointer beside them that says which one is current.

`bentoml models list`, `export` and `import` work on the same directories. BentoML's own `latest` is whatever came last,
be it a candidate; only `promote` moves our pointer. What is in a bundle is left to `service.bundles.bundle`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bentoml import Model
from bentoml.exceptions import BentoMLException
from bentoml.models import ModelContext

from service.bundles.bundle import MANIFEST, FileDigest, Manifest, digest, read_bundle, read_manifest
from service.bundles.drafts import new_draft, sweep_drafts
from service.errors import BundleRefused, NoBundle

CURRENT, LATEST = "current", "latest"  # names of versions, and of the files that hold them


class BundleStore:
    """The bundles of one name.

    Parameters
    ----------
    home : the directory BentoML calls BENTOML_HOME
    name : the model's name in the store
    """

    def __init__(self, home: Path, name: str = "winnow") -> None:
        self.name = name
        self._directory = home / "models" / name
        self._drafts = home / "tmp"

    @property
    def directory(self) -> Path:
        """Where the bundles are, and beside them the pointer and the histories."""
        return self._directory

    @contextmanager
    def draft(self) -> Iterator[Path]:
        """A directory on the store's own disk until the block ends, for what is to become a bundle.

        What killed processes left of theirs is removed first.
        """
        sweep_drafts(self._drafts)
        with new_draft(self._drafts) as directory:
            yield directory

    def save(self, directory: Path) -> str:
        """Copy a complete bundle into the store, all of it or nothing, and return its version; it is not promoted.

        Raises
        ------
        BundleRefused
            If the bundle is damaged, or the store has that version already.
        """
        manifest = read_bundle(directory).manifest
        _check_storable(manifest)
        target = self._directory / manifest.version
        with self.draft() as draft:
            staged = draft / "bundle"
            staged.mkdir()
            staged.chmod(0o755)  # another user may serve what this one trained
            for file_name, expected in manifest.files.items():
                _copy_verified(directory / file_name, staged / file_name, expected)
            shutil.copyfile(directory / MANIFEST, staged / MANIFEST)
            _write_model_yaml(staged, self.name, manifest)
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                staged.rename(target)  # onto an existing, non-empty directory this fails
            except OSError as error:
                raise BundleRefused(f"{self.name}:{manifest.version} cannot be stored: {error.strerror}") from error
        self._point(LATEST, manifest.version)
        return manifest.version

    def load(self, version: str = CURRENT) -> Path:
        """Directory of a version, of the "current" one, or of the "latest" by creation time.

        Raises
        ------
        NoBundle
            If there is none.
        """
        resolved = self._resolve(version)
        directory = self._directory / resolved
        if not (directory / MANIFEST).is_file():
            raise NoBundle(f"there is no bundle {self.name}:{resolved}; `winnow models list` shows what there is")
        return directory

    def manifests(self) -> list[Manifest]:
        """Manifests of all bundles, oldest first; a directory whose manifest cannot be read is left out."""
        return sorted(self._readable(), key=lambda manifest: (manifest.created_at, manifest.version))

    def current(self) -> str | None:
        """Version that is served, None before the first promotion."""
        try:
            return (self._directory / CURRENT).read_text().strip() or None
        except FileNotFoundError:
            return None

    def promote(self, version: str) -> str | None:
        """Make a stored version the current one, atomically; return the one it replaces, for a rollback.

        Raises
        ------
        NoBundle
            If the store has no such version.
        BundleRefused
            If its files are not what its manifest says.
        """
        directory = self.load(version)
        read_bundle(directory)
        replaced = self.current()
        self._point(CURRENT, directory.name)
        return replaced

    def _resolve(self, version: str) -> str:
        if version == CURRENT:
            current = self.current()
            if current is None:
                raise NoBundle(f"no bundle of {self.name} is promoted; run `winnow train` or `winnow promote`")
            return current
        if version == LATEST:
            manifests = self.manifests()
            if not manifests:
                raise NoBundle(f"there is no bundle of {self.name}; run `winnow train`")
            return manifests[-1].version
        if Path(version).name != version or version.startswith("."):
            raise NoBundle(f"{version!r} is no version of a bundle")
        return version

    def _readable(self) -> Iterator[Manifest]:
        directories = self._directory.iterdir() if self._directory.is_dir() else ()
        for directory in directories:
            try:
                yield read_manifest(directory)
            except BundleRefused:
                continue

    def _point(self, pointer: str, version: str) -> None:
        with self.draft() as draft:
            temporary = draft / pointer
            with temporary.open("w") as file:
                file.write(version)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._directory / pointer)


def _check_storable(manifest: Manifest) -> None:
    if manifest.version in {CURRENT, LATEST}:
        raise BundleRefused(f"no bundle can have the version {manifest.version!r}; the name has a meaning of its own")
    outside = [file_name for file_name in manifest.files if Path(file_name).name != file_name]
    if outside:
        raise BundleRefused(f"the manifest names {len(outside)} files that are not in the bundle's directory itself")


def _copy_verified(source: Path, target: Path, expected: FileDigest) -> None:
    if target.name == MANIFEST or source.is_symlink() or not source.is_file():
        raise BundleRefused(f"{source.name} of the bundle is missing or no plain file")
    content = source.read_bytes()
    if digest(content) != expected:
        raise BundleRefused(f"{source.name} is not the file the manifest names (SHA-256 or size differs)")
    target.write_bytes(content)


def _write_model_yaml(directory: Path, name: str, manifest: Manifest) -> None:
    context = ModelContext(framework_name="onnxruntime", framework_versions={})
    metadata = {"catalogue": manifest.catalogue, "taxonomy": manifest.taxonomy.version}
    tag = f"{name}:{manifest.version}"
    try:
        model = Model.create(tag, module="", api_version="v1", signatures={}, metadata=metadata, context=context)
        model.flush()  # type: ignore[no-untyped-call]  # BentoML has no type here
    except BentoMLException as error:
        raise BundleRefused(f"BentoML does not accept {tag}: {error}") from error
    shutil.copyfile(model.path_of("model.yaml"), directory / "model.yaml")
