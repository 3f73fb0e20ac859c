"""The demo catalogue is a valid shop: reproducible, learnable by every modality, and wrong where it means to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from service.errors import CatalogueError
from service.features.image import decode_image
from tests.catalogues import bad_images
from training.catalogues.catalogue import Labels, open_catalogue
from training.demo.catalogue import split, write_demo_catalogue
from training.demo.merchants import MERCHANTS, feed_row, merchant_labels
from training.demo.pictures import PATTERNS, SIZE, Look, photograph
from training.demo.products import CLASSES, DemoProduct, make_products, true_classes
from training.demo.sketches import SKETCHES
from training.demo.types import TYPES

N_SMALL = 400


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demo_catalogue(tmp_path_factory.mktemp("demo"), n_products=N_SMALL)


@pytest.fixture(scope="module")
def products() -> list[DemoProduct]:
    return make_products(4000, n_merchants=len(MERCHANTS), rng=Random(5))


@pytest.fixture(scope="module")
def claims(products: Sequence[DemoProduct]) -> Labels:
    rows = [feed_row(product, Random(index)) for index, product in enumerate(products)]
    drawn = [Random(f"labels {index}") for index in range(len(rows))]
    given = [merchant_labels(*args) for args in zip(products, rows, drawn, strict=True)]
    return np.array(
        [[-1 if answer is None else answer for answer in labels.values()] for labels in given], dtype=np.int8
    )


@pytest.fixture(scope="module")
def truth(products: Sequence[DemoProduct]) -> Labels:
    return np.array([list(true_classes(product).values()) for product in products], dtype=np.int8)


def test_the_same_seed_gives_the_same_files_to_the_bit(directory: Path, tmp_path: Path) -> None:
    again = write_demo_catalogue(tmp_path, n_products=N_SMALL)

    files = sorted(path.name for path in directory.iterdir())
    assert files == sorted(path.name for path in again.iterdir())
    assert all((directory / name).read_bytes() == (again / name).read_bytes() for name in files)


def test_another_seed_gives_another_shop(directory: Path, tmp_path: Path) -> None:
    write_demo_catalogue(tmp_path, n_products=N_SMALL, seed=1)

    first, other = (open_catalogue(path).read("test").products for path in (directory, tmp_path))

    assert {product.texts for product in first} != {product.texts for product in other}


def test_it_opens_as_a_catalogue_with_three_parts(directory: Path) -> None:
    catalogue = open_catalogue(directory)
    train, test, stream = (catalogue.read(part) for part in ("train", "test", "stream"))

    sizes = [len(part.products) for part in (train, test, stream)]
    assert sum(sizes) == N_SMALL
    assert np.allclose(np.array(sizes) / N_SMALL, [0.6, 0.2, 0.2], atol=0.05)
    assert catalogue.taxonomy.classes == CLASSES
    assert catalogue.fields.modalities == ("text", "image", "categorical", "numerical")
    assert train.merchant_labels is not None
    assert train.truth is None
    assert test.merchant_labels is None
    assert test.truth is not None
    assert stream.truth is not None


def test_every_class_has_positives_in_every_part_even_of_a_small_shop(directory: Path) -> None:
    for part in ("train", "test", "stream"):
        tables = (directory / "catalogue.toml").read_text().replace('# truth = "train', 'truth = "train')
        (directory / "with_truth.toml").write_text(tables)
        truth = open_catalogue(directory / "with_truth.toml").read(part).truth
        (directory / "with_truth.toml").unlink()

        assert truth is not None
        assert [
            name for name, n_positive in zip(CLASSES, (truth == 1).sum(axis=0), strict=True) if n_positive < 1
        ] == []


def test_classes_are_as_frequent_as_designed(truth: Labels) -> None:
    rates = dict(zip(CLASSES, truth.mean(axis=0), strict=True))

    assert len(CLASSES) == 24
    assert 0.01 < min(rates.values()) < 0.02
    assert 0.4 < max(rates.values()) < 0.55
    assert {name for name, rate in rates.items() if rate < 0.025} == {"hazmat", "dotted"}


def test_variants_of_a_design_stay_in_one_part(products: list[DemoProduct]) -> None:
    parts = split(products)

    designs = [{product.design for product in part} for part in parts.values()]
    assert sum(map(len, designs)) == len(set.union(*designs))
    assert sorted(product.product_id for part in parts.values() for product in part) == sorted(
        product.product_id for product in products
    )


def test_every_part_has_its_share_of_every_class(products: list[DemoProduct]) -> None:
    parts = split(products)

    sizes = {part: len(members) for part, members in parts.items()}
    assert sizes == pytest.approx({"train": 2400, "test": 800, "stream": 800}, abs=25)
    counts = {
        part: Counter(name for p in members for name, yes in true_classes(p).items() if yes)
        for part, members in parts.items()
    }
    for name in CLASSES:
        total = sum(counts[part][name] for part in parts)
        assert [counts[part][name] / total for part in parts] == pytest.approx([0.6, 0.2, 0.2], abs=0.05)


def test_a_withheld_type_is_missing_from_train_alone(products: list[DemoProduct]) -> None:
    parts = split(products, withhold="lamp")

    n_lamps = {part: sum(product.kind == "lamp" for product in members) for part, members in parts.items()}
    assert n_lamps["train"] == 0
    assert n_lamps["test"] > 20
    assert n_lamps["stream"] > 20


def test_feeds_are_silent_on_the_classes_they_never_fill(products: list[DemoProduct], claims: Labels) -> None:
    for index, merchant in enumerate(MERCHANTS):
        of_merchant = claims[[product.merchant == index for product in products]]

        silent = {name for name, column in zip(CLASSES, of_merchant.T, strict=True) if (column == -1).all()}
        assert silent == merchant.silent
        assert ((of_merchant == -1).sum(axis=1) == len(silent)).all()


def test_feeds_with_flags_forget_and_invent_at_their_rates(
    products: list[DemoProduct], claims: Labels, truth: Labels
) -> None:
    plain = [name not in {"womens", "blue", "black", "red", "leather"} for name in CLASSES]  # the confusable ones
    for index, merchant in enumerate(MERCHANTS):
        rows = [p.merchant == index and p.kind not in merchant.wrong for p in products]
        claimed, true = claims[rows][:, plain], truth[rows][:, plain]
        forgotten = (claimed == 0)[(true == 1) & (claimed >= 0)].mean()
        invented = (claimed == 1)[(true == 0) & (claimed >= 0)].mean()

        if not merchant.by_keyword:
            assert forgotten == pytest.approx(merchant.misses, abs=0.05)
            assert invented == pytest.approx(0.01, abs=0.006)
        else:
            assert 0.1 < forgotten < 0.5
            assert 0.01 < invented < 0.1


def test_wrong_mappings_are_always_wrong(products: list[DemoProduct], claims: Labels) -> None:
    belts = [product.kind == "belt" and MERCHANTS[product.merchant].name == "m02" for product in products]

    assert sum(belts) > 3
    assert (claims[belts, CLASSES.index("bottomwear")] == 1).all()
    assert (claims[belts, CLASSES.index("accessories")] == 0).all()


def test_photographs_decode_and_some_products_lack_one(directory: Path) -> None:
    part = open_catalogue(directory).read("train")

    images = [product.image for product in part.products]
    assert bad_images(part, SIZE) == []
    assert 0.01 < np.mean([image is None for image in images]) < 0.12
    assert 0.3 < np.mean([product.texts[1] == "" for product in part.products]) < 0.6
    assert 0.0 < np.mean([np.isnan(product.numbers[0]) for product in part.products]) < 0.08


def test_a_photograph_shows_colour_and_pattern() -> None:
    def middle(pattern: str) -> np.ndarray:
        look = Look("cushion", main=(200, 30, 40), trim=(240, 240, 240), pattern=pattern)
        return decode_image(photograph(look, backdrop=0, rng=Random(2)), SIZE)[32:48, 30:50].astype(float)

    plain, striped = middle("plain"), middle("striped")

    assert plain[..., 0].mean() > plain[..., 1].mean() + 80
    assert striped[..., 1].std() > 3 * plain[..., 1].std()


@pytest.mark.parametrize("sketch", SKETCHES)
def test_every_sketch_can_be_drawn_in_every_pattern(sketch: str) -> None:
    for pattern in PATTERNS:
        look = Look(sketch, main=(40, 90, 190), trim=(240, 240, 240), pattern=pattern, boxed=True)
        image = decode_image(photograph(look, backdrop=1, rng=Random(1)), SIZE)
        assert image.std() > 10


def test_every_type_has_a_sketch() -> None:
    assert set(TYPES) <= set(SKETCHES)


def test_much_goes_unsaid_so_that_images_matter(products: list[DemoProduct]) -> None:
    striped = [product for product in products if product.pattern == "striped"]
    rows = [feed_row(product, Random(index)) for index, product in enumerate(striped)]

    said = [any(word in f"{row['title']} {row['description']}" for word in ("stripe", "breton")) for row in rows]

    assert 0.3 < np.mean(said) < 0.7


def test_progress_counts_up_to_all(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    write_demo_catalogue(tmp_path, n_products=200, progress=lambda n_done, n_all: seen.append((n_done, n_all)))

    assert seen == [(n_done, 200) for n_done in range(1, 201)]


def test_what_cannot_be_generated_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError) as too_few:
        write_demo_catalogue(tmp_path, n_products=10)
    with pytest.raises(CatalogueError) as unknown:
        write_demo_catalogue(tmp_path, withhold="hat")

    assert str(too_few.value) == "a demo catalogue of 10 products lacks classes; make 200 or more"
    assert str(unknown.value).startswith("there is no demo product 'hat' to withhold; there are tshirt, shirt, ")
    assert list(tmp_path.iterdir()) == []
