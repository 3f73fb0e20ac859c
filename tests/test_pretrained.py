"""The optional image encoder: only the published weights are read, nothing in them runs, and features are kept."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from service.ensemble import Ensemble
from service.errors import CatalogueError
from service.features.encoder import Encoder, collate
from tests.catalogues import everything, png
from tests.trainings import OPTIONS, QUICKEST, silent
from training.catalogues.catalogue import open_catalogue
from training.encode import encode_products
from training.feature_store import FeatureStore, content_key
from training.fit import train
from training.loop.rounds import LoopOptions, loop
from training.members.efficientnet import EPSILON, N_LAST, STAGES, EfficientNetLite0
from training.pretrained import ImageEncoder, read_encoder
from training.retraining.warm_start import WARM

Weights = dict[str, Tensor]


def published_form(seed: int = 0) -> Weights:
    """Random weights under the published names."""
    random = torch.Generator().manual_seed(seed)
    weights: Weights = {}

    def layer(convolution: str, norm: str, n_out: int, n_in: int, kernel: int) -> None:
        shape = (n_out, n_in, kernel, kernel)
        weights[f"{convolution}.weight"] = torch.randn(shape, generator=random) * (1.5 / (n_in * kernel**2)) ** 0.5
        weights[f"{norm}.weight"] = torch.rand(n_out, generator=random) + 0.5
        weights[f"{norm}.bias"] = torch.rand(n_out, generator=random)
        weights[f"{norm}.running_mean"] = torch.randn(n_out, generator=random) * 0.1
        weights[f"{norm}.running_var"] = torch.rand(n_out, generator=random) + 0.5

    layer("_conv_stem", "_bn0", 32, 3, 3)
    n_in, index = 32, 0
    for stage in STAGES:
        for _ in range(stage.n_blocks):
            width, name = n_in * stage.expansion, f"_blocks.{index}"
            if stage.expansion > 1:
                layer(f"{name}._expand_conv", f"{name}._bn0", width, n_in, 1)
            layer(f"{name}._depthwise_conv", f"{name}._bn1", width, 1, stage.kernel)
            layer(f"{name}._project_conv", f"{name}._bn2", stage.n_out, width, 1)
            n_in, index = stage.n_out, index + 1
    layer("_conv_head", "_bn1", N_LAST, n_in, 1)
    return weights


def same(maps: Tensor, kernel: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution as TensorFlow pads it, from its definition."""
    size, width = kernel.shape[-1], maps.shape[-1]
    total = max((-(-width // stride) - 1) * stride + size - width, 0)
    padded = nn.functional.pad(maps, (total // 2, total - total // 2) * 2)
    return nn.functional.conv2d(padded, kernel, stride=stride, groups=groups)


def as_published(weights: Weights, images: Tensor) -> Tensor:
    """The model as its paper and its names describe it, normalisation apart from the convolutions."""

    def norm(maps: Tensor, name: str) -> Tensor:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
        scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return nn.functional.batch_norm(maps, mean, variance, scale, shift, eps=EPSILON)

    maps = (images.permute(0, 3, 1, 2).float() - 127) / 128
    maps = nn.functional.relu6(norm(same(maps, weights["_conv_stem.weight"], stride=2), "_bn0"))
    index, means = 0, [maps.mean((2, 3))]
    for stage in STAGES:
        for repeat in range(stage.n_blocks):
            name, inside = f"_blocks.{index}", maps
            if stage.expansion > 1:
                inside = nn.functional.relu6(norm(same(maps, weights[f"{name}._expand_conv.weight"]), f"{name}._bn0"))
            depthwise, stride = weights[f"{name}._depthwise_conv.weight"], stage.stride if repeat == 0 else 1
            inside = same(inside, depthwise, stride=stride, groups=len(depthwise))
            inside = nn.functional.relu6(norm(inside, f"{name}._bn1"))
            inside = norm(same(inside, weights[f"{name}._project_conv.weight"]), f"{name}._bn2")
            maps = maps + inside if inside.shape == maps.shape and stride == 1 else inside
            index += 1
        if len(means) < 4:  # of the first stages
            means.append(maps.mean((2, 3)))
        if stage is STAGES[4]:
            places = maps.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)).flatten(1)
    means.append(nn.functional.relu6(norm(same(maps, weights["_conv_head.weight"]), "_bn1")).mean((2, 3)))
    return torch.cat([*means, places], dim=1)


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    made = EfficientNetLite0()
    made.load(published_form())
    return made


@pytest.mark.parametrize("size", [32, 64, 96])
def test_the_folded_network_gives_what_the_published_one_gives(network: EfficientNetLite0, size: int) -> None:
    images = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))

    features = network(images)

    assert features.std() > 0.01
    torch.testing.assert_close(features, as_published(published_form(), images), atol=1e-4, rtol=1e-3)


def test_other_content_than_the_published_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_bytes(pickle.dumps(Trap(tmp_path / "ran")))

    with pytest.raises(CatalogueError, match=r"weights\.pth is not the published file"):
        read_encoder(tmp_path / "weights.pth", sha256="0" * 64, cache=tmp_path)

    assert not (tmp_path / "ran").exists()


def test_nothing_in_the_weights_is_run_even_if_the_digest_is_right(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"_conv_stem.weight": Trap(tmp_path / "ran")}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(CatalogueError, match="holds more than weights"):
        read_encoder(path, sha256=digest, cache=tmp_path)

    assert not (tmp_path / "ran").exists()


def test_weights_in_the_published_form_are_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save(published_form(), path, _use_new_zipfile_serialization=False)  # as the published file is
    images = torch.full((1, 32, 32, 3), 90, dtype=torch.uint8)

    encoder = read_encoder(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), cache=tmp_path)

    torch.testing.assert_close(encoder.network(images), as_published(published_form(), images), atol=1e-4, rtol=1e-3)


class Trap:
    """Unpickling this makes a directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


class Counting(EfficientNetLite0):
    """Counts the images that it sees."""

    n_seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.n_seen += len(images)
        return super().forward(images)


def encoder_in(cache: Path) -> tuple[ImageEncoder, Counting]:
    counting = Counting()
    counting.load(published_form())
    return ImageEncoder(counting, name="random", cache=cache, image_size=64), counting


def no_progress(_done: int, _total: int) -> None:
    return


PICTURES: Sequence[bytes | None] = [png("navy"), None, png("gold"), b"no picture", png("navy")]


def test_features_are_computed_once_and_read_back_afterwards(tmp_path: Path) -> None:
    first, counting = encoder_in(tmp_path)
    features, have = first.features(PICTURES, progress=no_progress)
    n_seen = counting.n_seen

    second, counting_again = encoder_in(tmp_path)
    again, have_again = second.features(PICTURES, progress=no_progress)

    assert n_seen == 2
    assert counting_again.n_seen == 0
    assert have.tolist() == have_again.tolist() == [True, False, True, False, True]
    np.testing.assert_array_equal(again, features)
    np.testing.assert_array_equal(features[0], features[4])
    assert np.abs(features[0] - features[2]).max() > 0
    assert not features[[1, 3]].any()


def test_two_stores_on_one_directory_lose_nothing_of_each_other(tmp_path: Path) -> None:
    one, other = FeatureStore(tmp_path, 3), FeatureStore(tmp_path, 3)
    keys = [content_key(bytes([number])) for number in range(4)]

    one.add(keys[:2], np.full((2, 3), 1, dtype=np.float16))
    other.add(keys[1:], np.full((3, 3), 2, dtype=np.float16))

    third = FeatureStore(tmp_path, 3)
    assert [third.get(key) is not None for key in keys] == [True] * 4
    np.testing.assert_array_equal(third.get(keys[3]), np.full(3, 2, dtype=np.float16))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_block_is_computed_again(tmp_path: Path, damage: bytes | None) -> None:
    encoder_in(tmp_path)[0].features(PICTURES, progress=no_progress)
    (block,) = tmp_path.rglob("*.npz")
    block.write_bytes(block.read_bytes()[:-40] if damage is None else damage)

    again, counting = encoder_in(tmp_path)
    _, have = again.features(PICTURES, progress=no_progress)

    assert counting.n_seen == 2
    assert have.sum() == 3


def test_a_bundle_trained_on_features_gives_the_same_from_pictures(tmp_path: Path) -> None:
    catalogue = open_catalogue(everything(tmp_path / "catalogue"))
    encoder, _ = encoder_in(tmp_path / "cache")

    train(catalogue, directory=tmp_path / "bundle", options=QUICKEST, images=encoder, progress=silent)

    bundle = read_bundle(tmp_path / "bundle")
    products = encode_products(catalogue.read("test").products, Encoder(bundle.encoding))
    said = Ensemble(bundle).predict(collate(products))
    member = [card.name for card in bundle.manifest.members].index("image_pretrained")
    seen = [row for row, product in enumerate(products) if product.image is not None]
    assert "image_cnn" not in [card.name for card in bundle.manifest.members]
    assert bundle.encoding.image_size == 64  # the black image of a batch without pictures has 32
    assert 0 < len(seen) < len(products)
    assert np.ptp(said.member_probabilities[seen, member], axis=0).max() > 0.1
    assert np.ptp(np.delete(said.member_probabilities[:, member], seen, axis=0), axis=0).max() < 1e-6


@pytest.mark.slow
def test_a_loop_trains_on_with_the_encoder_of_its_first_bundle(tmp_path: Path) -> None:
    catalogue = open_catalogue(everything(tmp_path / "catalogue"))
    encoder, _ = encoder_in(tmp_path / "cache")
    train(catalogue, directory=tmp_path / "draft", options=QUICKEST, images=encoder, progress=silent)
    store = BundleStore(tmp_path / "home")
    first = store.save(tmp_path / "draft")
    store.promote(first)

    loop(
        catalogue,
        home=tmp_path / "home",
        options=LoopOptions(n_rounds=1, n_tasks=10, n_questions=2, retraining=OPTIONS),
        inherited=os.environ,
        progress=silent,
        images=encoder,
    )

    (candidate,) = (one for one in store.manifests() if one.version != first)
    assert candidate.provenance[WARM]["from"] == first
    assert "image_pretrained" in [card.name for card in candidate.members]
