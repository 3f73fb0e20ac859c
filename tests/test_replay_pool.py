"""What a replay reads of catalogues of every shape, and that nothing is learned from the test part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pytest

from service.errors import CatalogueError
from tests import catalogues
from tests.trainings import silent
from training.catalogues.catalogue import open_catalogue
from training.catalogues.tables import column_names, read_batches, write_table
from training.replay.replay_pool import Pool, read_pool
from training.replay.runs import Plan, begin, run
from training.replay.strategies import SHIPPED


def pool_of(directory: Path) -> Pool:
    return read_pool(open_catalogue(directory), progress=silent)


@pytest.mark.parametrize(
    ("make", "n_views"),
    [
        (catalogues.text_only, 1),
        (catalogues.without_images, 2),
        (catalogues.numbers_only, 1),
        (catalogues.one_class, None),
        (catalogues.three_hundred_classes, None),
        (catalogues.constant_and_empty_columns, None),
        (catalogues.many_scripts, None),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_catalogue_of_any_shape_can_be_replayed(
    tmp_path: Path, make: Callable[[Path], Path], n_views: int | None
) -> None:
    pool = pool_of(make(tmp_path / "shop"))

    done = run(pool, SHIPPED, start=begin(pool, seed=0), seed=0, plan=Plan(n_rounds=2, n_answers=20, n_products=5))

    assert n_views is None or len(pool.views) == n_views
    assert sum(pool.views) == pool.features.shape[1]
    assert np.isfinite(pool.features.data).all()
    assert 0.0 < done.points[-1].macro_ap <= 1.0


def test_the_merchants_column_is_not_read(tmp_path: Path) -> None:
    def columns(words: Sequence[str], rng: Random) -> catalogues.Columns:
        return {"title": list(words), column: [f"m-{word}" for word in words]}

    widths = {}
    for column in ("Merchant", "shop"):
        fields = f'text = ["title"]\ncategorical = ["{column}"]'
        widths[column] = sum(pool_of(catalogues.write(tmp_path / column, fields, columns)).views)

    assert widths["shop"] == widths["Merchant"] + len(catalogues.WORDS)


def test_nothing_is_learned_from_the_test_part(tmp_path: Path) -> None:
    shop = catalogues.without_images(tmp_path / "shop")
    before = pool_of(shop)
    table = shop / "test.parquet"
    columns: dict[str, list[object]] = {name: [] for name in column_names(table)}
    for batch in read_batches(table, list(columns)):
        for name, cells in batch.items():
            columns[name] += cells
    write_table(table, columns | {"title": ["an unheard of thing"] * len(columns["title"])})

    after = pool_of(shop)

    n_known = before.n_askable
    assert before.features.shape == after.features.shape
    assert (before.features[:n_known] != after.features[:n_known]).nnz == 0
    assert (before.features[n_known:] != after.features[n_known:]).nnz > 0


def test_a_catalogue_without_anything_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="nothing that the heads could read"):
        pool_of(catalogues.images_only(tmp_path / "shop"))
