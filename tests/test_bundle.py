"""A bundle's files are what they should be, or it is refused, whatever is in them."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundles.bundle import (
    ENCODING,
    GOLDEN,
    GRAPH,
    MANIFEST,
    pack_golden,
    read_bundle,
    read_manifest,
    unpack_arrays,
    write_bundle,
)
from service.errors import BundleRefused
from tests.tiny_bundle import golden_inputs, tiny_manifest, write_tiny_bundle


def compressed() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, values=np.arange(1000))
    return buffer.getvalue()


ARCHIVES = (pack_golden(golden_inputs(), {}), compressed())


@pytest.mark.parametrize("name", [ENCODING, GOLDEN])
@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut short"])
def test_a_file_of_the_right_digest_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    write_tiny_bundle(tmp_path)
    files = {one: (tmp_path / one).read_bytes() for one in (GRAPH, ENCODING, GOLDEN)}
    write_bundle(tmp_path, tiny_manifest("tiny-1"), files=files | {name: content})

    with pytest.raises(BundleRefused, match=r"encoding\.json or golden\.npz cannot be read"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("kind", "name", "histogram", "reason"),
    [
        (
            "classes",
            "black",
            {"edges": [0.2, 0.5], "counts": [7]},
            r"classes\.black: .* 2 edges need 3 counts, not 1",
        ),
        ("numerical", "price", {"edges": [], "counts": []}, r"numerical\.price: .* 0 edges need 1 counts, not 0"),
        ("numerical", "title", {"edges": [], "counts": [7]}, "numbers of columns that hold none: title"),
    ],
)
def test_a_reference_that_traffic_cannot_be_counted_by_is_refused(
    tmp_path: Path, kind: str, name: str, histogram: dict[str, list[float]], reason: str
) -> None:
    write_tiny_bundle(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    manifest["reference"][kind] = {name: histogram}
    del manifest["digest"]  # of the manifest as it was
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BundleRefused, match=reason):
        read_manifest(tmp_path)


@given(st.sampled_from(ARCHIVES), st.data())
def test_a_damaged_archive_is_read_or_is_a_wrong_value(archive: bytes, data: st.DataObject) -> None:
    damaged = bytearray(archive)
    for place in data.draw(st.lists(st.integers(0, len(archive) - 1), min_size=1, max_size=5)):
        damaged[place] = data.draw(st.integers(0, 255))
    end = data.draw(st.sampled_from([len(archive), len(archive) - 1, len(archive) // 2]))

    with suppress(ValueError):
        assert all(isinstance(array, np.ndarray) for array in unpack_arrays(bytes(damaged[:end])).values())
