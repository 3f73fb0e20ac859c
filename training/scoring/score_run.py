"""`winnow score`: a catalogue of any size into one file of scores, on all cores, in constant memory, resumable.

Every chunk becomes a small file beside the result; a run that was killed leaves what it finished, and the next one goes
on from there, so that every row is scored exactly once. Scoring a chunk is left to `training.scoring.scoring`.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from service.bundles.bundle import read_manifest
from service.errors import CatalogueError
from training.catalogues.catalogue import Catalogue
from training.catalogues.catalogue_file import PartName
from training.catalogues.tables import Cells, count_rows
from training.progress import Progress
from training.scoring.scored_table import check_suffix, join
from training.scoring.scoring import Chunk, start_worker, write_scores

ORIGIN = "origin.json"  # says what the finished chunks belong to
BATCHES = 4  # of the table, in a chunk, which ends sooner where there are images: a file has a price of its own
AHEAD = 2  # chunks a worker that are read before their turn, so that none waits for the disk

Result = TypeVar("Result")


def score_catalogue(
    directory: Path, catalogue: Catalogue, *, part: PartName, out: Path, n_processes: int, progress: Progress
) -> int:
    """Score a part of a catalogue with the bundle in a directory, or go on where a killed run ended.

    Returns
    -------
    How many products the file holds.

    Raises
    ------
    CatalogueError
        If the catalogue does not fit the bundle, a cell is wrong, or what lies there is of another run.
    """
    check_suffix(out)
    if out.exists():
        raise CatalogueError(f"{out} exists; remove it or name another file")
    catalogue.check_fit(read_manifest(directory))
    parts = out.with_name(f"{out.name}.parts")
    _begin(parts, _origin(directory, catalogue, part))
    n_rows = count_rows(catalogue.path(part))
    done = 0
    with workers(directory, catalogue, part, n_processes) as pool:

        def start(chunk: Chunk) -> Future[int]:
            path = _part(parts, chunk.number, out)
            return _finished(chunk.n_rows) if path.exists() else pool.submit(write_scores, chunk, path)

        n_parts = 0
        for n_scored in in_turn(chunks(catalogue, part), start, n_ahead=AHEAD * n_processes):
            n_parts, done = n_parts + 1, done + n_scored
            progress("score", done, max(n_rows, done))
    whole = parts / f".{os.getpid()}{out.suffix}"  # goes with the parts, also when a run is killed that joins them
    join((_part(parts, number, out) for number in range(n_parts)), out, draft=whole)
    shutil.rmtree(parts)
    return done


def chunks(catalogue: Catalogue, part: PartName) -> Iterator[Chunk]:
    """The rows of a part, some at a time."""
    first_row, batches = 1, catalogue.batches(part)
    for number in itertools.count():
        some = _some(batches, catalogue.fields.image)
        if not some:
            return
        columns = {name: [cell for batch in some for cell in batch[name]] for name in some[0]}
        yield Chunk(number, first_row, columns)
        first_row += len(columns[catalogue.fields.id])


def _some(batches: Iterator[dict[str, Cells]], image: str | None) -> list[dict[str, Cells]]:
    """The batches of one chunk, of which the last alone may have images."""
    some: list[dict[str, Cells]] = []
    for batch in itertools.islice(batches, BATCHES):
        some.append(batch)
        if image and any(batch[image]):
            break
    return some


@contextmanager
def workers(directory: Path, catalogue: Catalogue, part: PartName, n_processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that each have the bundle open; what has not begun at the end of the block is let go."""
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    pool = ProcessPoolExecutor(
        n_processes, mp_context=context, initializer=start_worker, initargs=(directory, catalogue, part)
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_turn(given: Iterable[Chunk], start: Callable[[Chunk], Future[Result]], *, n_ahead: int) -> Iterator[Result]:
    """What becomes of the chunks, in their order, with a bounded number of them under way."""
    under_way: deque[Future[Result]] = deque()
    for chunk in given:
        under_way.append(start(chunk))
        if len(under_way) > n_ahead:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()


def _finished(n_rows: int) -> Future[int]:
    future: Future[int] = Future()
    future.set_result(n_rows)
    return future


def _part(parts: Path, number: int, out: Path) -> Path:
    return parts / f"{number:07d}{out.suffix.lower()}"


def _origin(directory: Path, catalogue: Catalogue, part: PartName) -> dict[str, object]:
    """What a chunk's scores depend on."""
    manifest = read_manifest(directory)
    table = catalogue.path(part)
    stat = table.stat()
    return {
        "bundle": manifest.version,
        "files": {name: file.sha256 for name, file in sorted(manifest.files.items())},
        "table": str(table.resolve()),
        "table_bytes": stat.st_size,
        "table_changed_ns": stat.st_mtime_ns,
        "chunk_batches": BATCHES,
    }


def _begin(parts: Path, origin: dict[str, object]) -> None:
    file = parts / ORIGIN
    parts.mkdir(parents=True, exist_ok=True)
    if file.exists():
        if json.loads(file.read_text()) != origin:
            raise CatalogueError(f"{parts} holds scores of another bundle or table; remove it to begin anew")
        return
    draft = parts / f".{ORIGIN}"
    draft.write_text(json.dumps(origin))
    draft.replace(file)
