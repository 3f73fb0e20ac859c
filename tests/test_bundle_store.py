"""The model store: complete bundles only, BentoML's commands on the same directories, promotion by a pointer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.bundles import bundle_store as bundle_store_module
from service.bundles.bundle import GRAPH, MANIFEST, digest, read_bundle, read_manifest
from service.bundles.bundle_store import BundleStore
from service.errors import BundleRefused, NoBundle
from tests.tiny_bundle import write_tiny_bundle


def home_of(tmp_path: Path) -> Path:
    return tmp_path / "bentoml"


def bentoml(home: Path, *arguments: str) -> str:
    environment = os.environ | {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    command = [sys.executable, "-m", "bentoml", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_saved_bundle_is_read_back_whole(bundle_store: BundleStore, tiny_bundle: Path) -> None:
    version = bundle_store.save(tiny_bundle)

    assert version == "tiny-1"
    assert read_bundle(bundle_store.load("tiny-1")).graph == (tiny_bundle / GRAPH).read_bytes()


def test_saving_does_not_promote(bundle_store: BundleStore, tiny_bundle: Path) -> None:
    bundle_store.save(tiny_bundle)

    assert bundle_store.current() is None
    with pytest.raises(NoBundle, match="no bundle of winnow is promoted"):
        bundle_store.load()


def test_promotion_returns_the_replaced_version_so_that_it_can_be_undone(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle_store.save(tiny_bundle)
    write_tiny_bundle(tmp_path / "next", version="tiny-2", seed=2)
    bundle_store.save(tmp_path / "next")

    replaced = [bundle_store.promote(version) for version in ("tiny-1", "tiny-2", "tiny-1")]

    assert replaced == [None, "tiny-1", "tiny-2"]
    assert bundle_store.load().name == "tiny-1"


def test_latest_is_the_newest_by_creation_time(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "next", version="a-later-name")
    bundle_store.save(tiny_bundle)
    bundle_store.save(tmp_path / "next")

    assert [manifest.version for manifest in bundle_store.manifests()] == ["a-later-name", "tiny-1"]
    assert bundle_store.load("latest").name == "tiny-1"


def test_a_version_is_never_overwritten(bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path) -> None:
    bundle_store.save(tiny_bundle)
    write_tiny_bundle(tmp_path / "other", version="tiny-1", seed=3)

    with pytest.raises(BundleRefused, match="winnow:tiny-1 cannot be stored"):
        bundle_store.save(tmp_path / "other")

    assert (bundle_store.load("tiny-1") / GRAPH).read_bytes() == (tiny_bundle / GRAPH).read_bytes()


def test_a_damaged_bundle_is_neither_saved_nor_promoted(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    write_tiny_bundle(tmp_path / "damaged")
    with (tmp_path / "damaged" / GRAPH).open("ab") as graph:
        graph.write(b"!")
    stored = bundle_store.load(bundle_store.save(tiny_bundle))
    with (stored / GRAPH).open("ab") as graph:
        graph.write(b"!")

    with pytest.raises(BundleRefused, match="not the file the manifest names"):
        bundle_store.save(tmp_path / "damaged")
    with pytest.raises(BundleRefused, match="not the file the manifest names"):
        bundle_store.promote("tiny-1")
    assert bundle_store.current() is None


def with_another_file(directory: Path, name: str, content: bytes, *, said: bytes) -> Path:
    """A tiny bundle whose manifest names one more file than its reader needs."""
    write_tiny_bundle(directory)
    manifest = json.loads((directory / MANIFEST).read_text())
    manifest["files"][name] = digest(said).model_dump()
    del manifest["digest"]  # of the manifest as it was
    (directory / MANIFEST).write_text(json.dumps(manifest))
    (directory / name).write_bytes(content)
    return directory


def test_every_file_of_a_bundle_is_saved(bundle_store: BundleStore, tmp_path: Path) -> None:
    directory = with_another_file(tmp_path / "more", "report.html", b"<p>", said=b"<p>")

    saved = bundle_store.load(bundle_store.save(directory))

    assert (saved / "report.html").read_bytes() == b"<p>"


@pytest.mark.parametrize(
    ("name", "said", "reason"),
    [
        ("../outside.txt", b"content", "not in the bundle's directory itself"),
        ("report.html", b"another", "not the file the manifest names"),
    ],
)
def test_a_manifest_cannot_bring_in_other_files(
    bundle_store: BundleStore, tmp_path: Path, name: str, said: bytes, reason: str
) -> None:
    directory = with_another_file(tmp_path / "bundle", name, b"content", said=said)

    with pytest.raises(BundleRefused, match=reason):
        bundle_store.save(directory)

    assert bundle_store.manifests() == []


def test_ctrl_c_while_saving_leaves_nothing(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bundle_store_module, "_write_model_yaml", interrupt)

    with pytest.raises(KeyboardInterrupt):
        bundle_store.save(tiny_bundle)

    assert bundle_store.manifests() == []
    assert [path for path in home_of(tmp_path).rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("version", ["absent", "../winnow", ".hidden", ""])
def test_a_version_that_is_not_there_is_said_so(bundle_store: BundleStore, tiny_bundle: Path, version: str) -> None:
    bundle_store.save(tiny_bundle)

    with pytest.raises(NoBundle):
        bundle_store.load(version)


@pytest.mark.parametrize("version", ["latest", "current"])
def test_the_names_of_the_pointers_are_no_versions(bundle_store: BundleStore, tmp_path: Path, version: str) -> None:
    write_tiny_bundle(tmp_path / "named", version=version)

    with pytest.raises(BundleRefused, match="meaning of its own"):
        bundle_store.save(tmp_path / "named")


def test_bentoml_lists_exports_and_imports_our_bundles(
    bundle_store: BundleStore, tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle_store.save(tiny_bundle)
    bundle_store.promote("tiny-1")
    archive = tmp_path / "tiny.bentomodel"

    listed = bentoml(home_of(tmp_path), "models", "list")
    bentoml(home_of(tmp_path), "models", "export", "winnow:latest", str(archive))
    bentoml(tmp_path / "elsewhere", "models", "import", str(archive))

    assert "winnow:tiny-1" in listed
    imported = BundleStore(tmp_path / "elsewhere")
    assert imported.promote("tiny-1") is None
    assert read_manifest(imported.load()) == read_manifest(tiny_bundle)


def test_a_manifest_that_differs_in_one_digit_is_refused(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    path = tmp_path / "tiny" / MANIFEST
    path.write_text(path.read_text().replace("0.4,", "0.5,", 1))  # a threshold, of which no golden batch tells

    with pytest.raises(BundleRefused, match=r"manifest\.json is not as it was written"):
        read_bundle(tmp_path / "tiny")
