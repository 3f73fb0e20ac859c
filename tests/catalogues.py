"""Small catalogues of every shape that a shop may have, to be read, trained and served."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from PIL import Image

from service.errors import UnreadableImage
from service.features.image import decode_image
from training.catalogues.catalogue import Part
from training.catalogues.tables import write_table

Columns = dict[str, Sequence[object]]

N_PRODUCTS = {"train": 120, "test": 40, "stream": 40}
WORDS = ("mug", "lamp", "boot", "scarf")
COLOURS = dict(zip(WORDS, ("navy", "gold", "firebrick", "white"), strict=True))
SCRIPTS = {
    "mug": "マグカップ",
    "lamp": "лампа настольная",
    "boot": "حذاء شتوي",
    "scarf": "围巾 羊毛",
}


def text_only(directory: Path) -> Path:
    """One text column, and nothing else."""
    return write(directory, 'text = ["title"]', lambda words, _rng: {"title": [f"a {word}" for word in words]})


def without_images(directory: Path) -> Path:
    """Text, a category and a price."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        return {
            "title": list(words),
            "shop": [f"s-{word[0]}" for word in words],
            "price": [rng.random() for _ in words],
        }

    return write(directory, 'text = ["title"]\ncategorical = ["shop"]\nnumerical = ["price"]', columns)


def images_only(directory: Path) -> Path:
    """Nothing but pictures: one colour a kind."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        colours = dict(zip(WORDS, ("navy", "gold", "firebrick", "white"), strict=True))
        return {"photo": [png(colours[word]) for word in words]}

    return write(directory, 'image = "photo"', columns)


def numbers_only(directory: Path) -> Path:
    """Nothing but a price, which tells the kinds apart."""
    return write(
        directory,
        'numerical = ["price"]',
        lambda words, rng: {"price": [10.0 ** WORDS.index(word) * rng.uniform(1, 3) for word in words]},
    )


def one_class(directory: Path) -> Path:
    """A single question."""
    return write(
        directory,
        'text = ["title"]',
        lambda words, _rng: {"title": list(words)},
        classes=lambda word: {"mug": word == "mug"},
    )


def three_hundred_classes(directory: Path) -> Path:
    """Most classes without one positive."""

    def classes(word: str) -> dict[str, bool]:
        return {f"class {number:03}": number == WORDS.index(word) for number in range(300)}

    return write(directory, 'text = ["title"]', lambda words, _rng: {"title": list(words)}, classes=classes)


def constant_and_empty_columns(directory: Path) -> Path:
    """A constant price, columns without a value, and classes that are always yes, always no, or unknown."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        same: Columns = {"price": [9.9] * len(words), "stock": [None] * len(words), "brand": [None] * len(words)}
        return {"title": list(words), "note": [None] * len(words), **same}

    def classes(word: str) -> dict[str, bool | None]:
        return {"mug": word == "mug", "always": True, "never": False, "unknown": None}

    fields = 'text = ["title", "note"]\ncategorical = ["brand"]\nnumerical = ["price", "stock"]'
    return write(directory, fields, columns, classes=classes)


def many_scripts(directory: Path) -> Path:
    """Titles, brands and classes in Japanese, Cyrillic, Arabic and Chinese."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        return {"название": [SCRIPTS[word] for word in words], "店": [SCRIPTS[word][:2] for word in words]}

    def classes(word: str) -> dict[str, bool]:
        return {SCRIPTS[name]: name == word for name in WORDS}

    return write(directory, 'text = ["название"]\ncategorical = ["店"]', columns, classes=classes)


SHAPES: Mapping[str, Callable[[Path], Path]] = {
    shape.__name__: shape
    for shape in (
        text_only,
        without_images,
        images_only,
        numbers_only,
        one_class,
        three_hundred_classes,
        constant_and_empty_columns,
        many_scripts,
    )
}


def _kinds(word: str) -> Mapping[str, bool]:
    return {name: name == word for name in WORDS}


def write(
    directory: Path,
    fields: str,
    columns: Callable[[Sequence[str], Random], Columns],
    *,
    classes: Callable[[str], Mapping[str, bool | None]] = _kinds,
) -> Path:
    """Write a catalogue whose products are of one of four kinds, with labels or truth in every part."""
    rng = Random(0)
    toml = f'name = "{directory.name}"\n[fields]\nid = "sku"\n{fields}\n'
    directory.mkdir(parents=True, exist_ok=True)
    for part, n_products in N_PRODUCTS.items():
        words = [rng.choice(WORDS) for _ in range(n_products)]
        ids = [f"{part}-{row}" for row in range(n_products)]
        answers = [classes(word) for word in words]
        labels = {name: [None if row[name] is None else int(bool(row[name])) for row in answers] for name in answers[0]}
        write_table(directory / f"{part}.parquet", {"sku": ids, **columns(words, rng)})
        write_table(directory / f"{part}.labels.parquet", {"sku": ids, **labels})
        role = "merchant_labels" if part == "train" else "truth"
        toml += f'[{part}]\nproducts = "{part}.parquet"\n{role} = "{part}.labels.parquet"\n'
    (directory / "catalogue.toml").write_text(toml, encoding="utf-8")
    return directory


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (12, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


def everything(directory: Path) -> Path:
    """All four modalities, with gaps in each of them."""

    def columns(words: Sequence[str], rng: Random) -> Columns:
        def gap(cell: object) -> object:
            return None if rng.random() < 0.15 else cell

        return {
            "title": [gap(f"{word} number {rng.randrange(10_000)}") for word in words],
            "brand": [gap(f"b-{word[0]}-{rng.randrange(3)}") for word in words],
            "price": [gap(rng.uniform(1, 3) * (1 + WORDS.index(word))) for word in words],
            "photo": [gap(png(COLOURS[word])) for word in words],
        }

    fields = 'text = ["title"]\ncategorical = ["brand"]\nnumerical = ["price"]\nimage = "photo"'
    return write(directory, fields, columns)


def bad_images(part: Part, size: int) -> list[tuple[str, str]]:
    """Product id and reason of every image that cannot be decoded, and of every one whose file is missing.

    Parameters
    ----------
    size : pixels a side to which the images are decoded
    """
    bad = list(part.missing_images)
    for product in part.products:
        if product.image is not None:
            try:
                decode_image(product.image, size)
            except UnreadableImage as error:
                bad.append((product.product_id, str(error)))
    return bad
