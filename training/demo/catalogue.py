"""The demo catalogue: a made-up shop for fashion and the home, with photographs, true answers and merchants who err.

Everything is drawn from one seed: the same seed and library versions give the same files, to the bit.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from service.errors import CatalogueError
from training.catalogues.catalogue_file import FILE_NAME, PART_NAMES, PartName
from training.catalogues.tables import write_table
from training.demo.merchants import MERCHANTS, feed_row, merchant_labels
from training.demo.pictures import photograph
from training.demo.products import CLASSES, DemoProduct, make_products, true_classes
from training.demo.types import TYPES

SHARES: Mapping[PartName, float] = {"train": 0.6, "test": 0.2, "stream": 0.2}
WITHOUT_IMAGE = 0.05
LEAST_PRODUCTS = 200

_TOML = """\
# A made-up shop. Which column is what; paths are relative to this file.
name = "demo"

[fields]
id = "product_id"
text = ["title", "description"]
categorical = ["brand", "merchant", { column = "merchant_category", separator = "," }]
numerical = ["price", "discounted_price", "n_options"]
image = "image"

[train]
products = "train.products.parquet"
merchant_labels = "train.merchant_labels.parquet"   # noisy and incomplete: 1 / 0 / null
# truth = "train.truth.parquet"                     # only to see how good training on clean labels would be

[test]
products = "test.products.parquet"
truth = "test.truth.parquet"

[stream]                                            # products that arrive later
products = "stream.products.parquet"
truth = "stream.truth.parquet"                      # for a simulated annotator only
"""


def write_demo_catalogue(
    directory: Path,
    *,
    n_products: int = 4000,
    seed: int = 0,
    withhold: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Generate the catalogue into a directory and return that directory.

    Parameters
    ----------
    n_products : in all parts together, at least `LEAST_PRODUCTS`
    withhold : a type of product, a key of `training.demo.types.TYPES`, that the train part shall lack
    progress : called with the products done and the products in all

    Raises
    ------
    CatalogueError
        If `n_products` is too small or `withhold` is no type.
    """
    if n_products < LEAST_PRODUCTS:
        raise CatalogueError(f"a demo catalogue of {n_products} products lacks classes; make {LEAST_PRODUCTS} or more")
    if withhold is not None and withhold not in TYPES:
        raise CatalogueError(f"there is no demo product {withhold!r} to withhold; there are {', '.join(TYPES)}")
    products = make_products(n_products, n_merchants=len(MERCHANTS), rng=Random(f"products {seed}"))
    parts = split(products, withhold=withhold)
    directory.mkdir(parents=True, exist_ok=True)
    n_done = 0
    for part in PART_NAMES:
        rows = []
        for product in parts[part]:
            rows.append(_row(product, seed))
            n_done += 1
            if progress:
                progress(n_done, n_products)
        _write_part(directory, part, parts[part], rows, seed)
    (directory / FILE_NAME).write_text(_TOML, encoding="utf-8")
    return directory


def split(products: Sequence[DemoProduct], *, withhold: str | None = None) -> dict[PartName, list[DemoProduct]]:
    """Divide products by `SHARES`, whole designs at a time, rare classes first so that every part gets its share.

    Source: Sechidis, Tsoumakas, Vlahavas 2011 (iterative stratification), here greedily and by design.
    """
    designs: dict[int, list[DemoProduct]] = defaultdict(list)
    for product in products:
        designs[product.design].append(product)
    classes = {design: _classes(variants) for design, variants in designs.items()}
    frequency = Counter(name for names in classes.values() for name in names)
    have: dict[PartName, Counter[str]] = {part: Counter() for part in PART_NAMES}
    parts: dict[PartName, list[DemoProduct]] = {part: [] for part in PART_NAMES}
    for design in sorted(designs, key=lambda design: (min(frequency[name] for name in classes[design]), design)):
        rarest = min(classes[design], key=lambda name: (frequency[name], name))
        allowed = [part for part in PART_NAMES if part != "train" or designs[design][0].kind != withhold]
        chosen = min(allowed, key=lambda part: (have[part][rarest] + 1) / SHARES[part])
        have[chosen].update(dict.fromkeys(classes[design], len(designs[design])))
        parts[chosen] += designs[design]
    return {part: sorted(members, key=lambda product: product.product_id) for part, members in parts.items()}


def _classes(variants: Sequence[DemoProduct]) -> set[str]:
    """Classes of any variant of a design, and one for all products."""
    return {"any", *(name for product in variants for name, answer in true_classes(product).items() if answer)}


def _row(product: DemoProduct, seed: int) -> dict[str, object]:
    """Feed row of a product; drawn from its id, so that it does not depend on the others."""
    rng = Random(f"{product.product_id} {seed}")
    row = feed_row(product, rng)
    picture = photograph(product.look, backdrop=product.merchant, rng=rng)
    return row | {"image": None if rng.random() < WITHOUT_IMAGE else picture}


def _write_part(
    directory: Path, part: PartName, products: Sequence[DemoProduct], rows: Sequence[Mapping[str, object]], seed: int
) -> None:
    write_table(directory / f"{part}.products.parquet", {name: [row[name] for row in rows] for name in rows[0]})
    truth = [true_classes(product) for product in products]
    _write_labels(directory / f"{part}.truth.parquet", products, truth)
    if part == "train":
        claims = [
            merchant_labels(product, row, Random(f"{product.product_id} labels {seed}"))
            for product, row in zip(products, rows, strict=True)
        ]
        _write_labels(directory / f"{part}.merchant_labels.parquet", products, claims)


def _write_labels(path: Path, products: Sequence[DemoProduct], labels: Sequence[Mapping[str, int | None]]) -> None:
    ids: dict[str, Sequence[object]] = {"product_id": [product.product_id for product in products]}
    write_table(path, ids | {name: [answers[name] for answers in labels] for name in CLASSES})
