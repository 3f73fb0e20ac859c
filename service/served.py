"""One bundle at work: products that wait together are decoded, encoded, run through the graph and scored together.

Which bundle is served is left to `service.classifier`, reading products from a request to `service.api.product_reader`.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from service.acquisition.intake import ServedBundle
from service.acquisition.scores import Scores, score
from service.batcher import Batcher
from service.bundles.bundle import Manifest, read_bundle
from service.cohort_keeper import CohortKeeper
from service.contracts import Predictions
from service.decoding import Decoders, Outcome, Pixels
from service.ensemble import Device, Ensemble
from service.features.batch_encoder import BatchEncoder
from service.features.encoder import Encoder, collate
from service.scored import Scored, scored_batch
from service.telemetry.metrics import Metrics
from service.telemetry.traffic import N_RECORDS, TrafficWatch

MAX_KEPT_CHARACTERS = 1_000_000  # of an image in base64: a cohort keeps a hundred products in memory until it is sealed
N_RUNS = 8  # of the graph, in what is answered together: sorted by length, its products have an eighth less padding
N_PLAIN = 2  # times as many products a run where none has a picture: the graph takes a tenth less of each
MANY_PRODUCTS = 8  # from here on, encoding them together costs less than one by one
FEW_PRODUCTS = 64  # without pictures: while the graph takes milliseconds, it costs a tenth less here than in a thread
N_DECODED = 64  # products whose images are decoded together, at most
PATIENCE_SECONDS = 10.0  # behind other requests: most clients have given up by then
QUIET_TURNS = 2  # a request that has arrived begins its work in the turn after next

Record = Mapping[str, Any]
Filed = tuple[Record, bytes | None]  # a product as it came, and its image file
Pictured = tuple[Record, Pixels | None]  # a product as it waits for labelling, and its decoded image


@dataclass(frozen=True, slots=True)
class ScoredFiles:
    """What is said about some products, and what became of their images."""

    scored: Scored
    outcomes: Sequence[Outcome]

    def rows(self, start: int, stop: int) -> ScoredFiles:
        """The part for the products from `start` up to, not including, `stop`."""
        return ScoredFiles(self.scored.rows(start, stop), self.outcomes[start:stop])


@dataclass(frozen=True, slots=True)
class Shared:
    """What one bundle after the other works with in a worker.

    Parameters
    ----------
    batch_size : products that run through the graph at once
    device : on which it runs
    inference : the thread that runs it
    keeper : samples what is classified for labelling; nothing is sampled without one
    """

    batch_size: int
    device: Device
    inference: ThreadPoolExecutor
    decoders: Decoders
    metrics: Metrics
    keeper: CohortKeeper | None = None


class Served:
    """One bundle, ready to answer; its answers never change, so that a request that holds it has one version's."""

    def __init__(self, directory: Path, shared: Shared) -> None:
        """Read, verify and open a bundle.

        Raises
        ------
        BundleRefused
            If it is damaged or does not reproduce its golden batch.
        """
        bundle = read_bundle(directory)
        self.manifest: Manifest = bundle.manifest
        self._shared = shared
        self._metrics = shared.metrics.classify
        self._encoder = Encoder(bundle.encoding)
        self._batch_encoder = BatchEncoder(self.manifest.fields, bundle.encoding)
        self._image_size = bundle.encoding.image_size
        self._files = self._files_batcher()
        self._pictured = self._pictured_batcher()
        self._ensemble = Ensemble(bundle, device=shared.device)
        self._bundle = ServedBundle.of(self.manifest)
        self._members = [member.name for member in self.manifest.members]
        self._member_weights = np.asarray([member.weights for member in self.manifest.members], dtype=np.float32)
        self._traffic = TrafficWatch(self.manifest, shared.metrics.traffic)
        self._is_retired = False

    async def classify(
        self, records: Sequence[Record], images: Mapping[int, bytes]
    ) -> tuple[list[Scored], dict[int, str]]:
        """What is said about some products, and why the images of some could not be decoded, by their positions."""
        if not images:
            return await self._pictured.submit([(record, None) for record in records]), {}
        products = [(record, images.get(index)) for index, record in enumerate(records)]
        outcomes = self._shared.decoders.decode_light([content for _, content in products], self._image_size)
        if outcomes is not None:
            return await self._pictured.submit(self._decoded(products, outcomes)), _faults(outcomes)
        n_at_once = N_DECODED * self._shared.decoders.n_threads  # no more: other requests have images too
        seen = [
            part
            for start in range(0, len(products), n_at_once)
            for part in await self._files.submit(products[start : start + n_at_once])
        ]
        return [part.scored for part in seen], _faults([outcome for part in seen for outcome in part.outcomes])

    def publish(self) -> None:
        """Count what was classified since the last time; to be called now and then."""
        self._traffic.publish(tells_drift=not self._is_retired)

    def retire(self) -> None:
        """Count each batch as it ends from now on, besides what one more call of `publish` counts; from any thread."""
        self._is_retired = True

    def _files_batcher(self) -> Batcher[Filed, ScoredFiles]:
        return Batcher(
            self._decode_and_run,
            max_batch_size=min(N_DECODED, N_RUNS * self._shared.batch_size),
            n_running=self._shared.decoders.n_threads,
            quiet_turns=QUIET_TURNS,
            patience_seconds=PATIENCE_SECONDS,
        )

    def _pictured_batcher(self) -> Batcher[Pictured, Scored]:
        return Batcher(
            self._run,
            max_batch_size=N_RUNS * self._shared.batch_size,
            quiet_turns=QUIET_TURNS,
            patience_seconds=PATIENCE_SECONDS,
            on_wait=lambda seconds: self._metrics.batch_stage("wait", seconds),
        )

    async def _decode_and_run(self, products: Sequence[Filed]) -> ScoredFiles:
        outcomes = await self._shared.decoders.decode([content for _, content in products], self._image_size)
        (scored,) = await self._pictured.submit(self._decoded(products, outcomes))
        return ScoredFiles(scored, outcomes)

    def _decoded(self, products: Sequence[Filed], outcomes: Sequence[Outcome]) -> list[Pictured]:
        """Products as they go on to the graph and wait for labelling."""
        records = [record for record, _ in products]
        if self._shared.keeper is not None:  # else nothing waits for labelling
            records = to_be_kept(products, outcomes, self.manifest.fields.image)
        pixels = [None if isinstance(outcome, str) else outcome for outcome in outcomes]
        return list(zip(records, pixels, strict=True))

    async def _run(self, products: Sequence[Pictured]) -> Scored:
        started = perf_counter()
        records, images = [record for record, _ in products], [image for _, image in products]
        predictions = await self._predict(records, images)
        scores = self._score(predictions)
        self._metrics.batch(len(products), perf_counter() - started)
        if self._shared.keeper is not None:
            self._shared.keeper.take(self._bundle, records=records, predictions=predictions, scores=scores)
        batch = scored_batch(
            predictions, scores, thresholds=self._bundle.thresholds, classes=self._bundle.classes, members=self._members
        )
        self._traffic.take(batch.seen(records[:N_RECORDS]))
        if self._is_retired:
            self.publish()
        return Scored(batch, 0, len(products))

    async def _predict(self, records: Sequence[Record], images: Sequence[Pixels | None]) -> Predictions:
        """Encode here and run the graph in its thread: two threads of Python only wait for each other.

        The graph of products without pictures runs here, too, unless they are many: whoever comes meanwhile would wait
        for it anyway.
        """
        started = perf_counter()
        has_pictures = any(image is not None for image in images)
        if len(records) < MANY_PRODUCTS:
            product = self.manifest.fields.product
            pairs = zip(records, images, strict=True)
            inputs = collate([self._encoder.encode(product(record), image) for record, image in pairs])
            predict = partial(self._ensemble.predict, inputs)
        else:
            batch = self._batch_encoder.encode(records, images)
            n_at_once = self._shared.batch_size if has_pictures else N_PLAIN * self._shared.batch_size
            predict = partial(self._ensemble.predict_by_length, batch, n_at_once)
        self._metrics.batch_stage("encode", perf_counter() - started)
        runs_here = len(records) <= FEW_PRODUCTS and not has_pictures and self._shared.device == "cpu"
        if runs_here and self._files.is_idle:  # else threads that decode wait for this one
            return self._infer(predict)
        return await asyncio.get_running_loop().run_in_executor(self._shared.inference, self._infer, predict)

    def _score(self, predictions: Predictions) -> Scores:
        started = perf_counter()
        scores = score(
            probabilities=predictions.probabilities,
            member_probabilities=predictions.member_probabilities,
            present=predictions.present,
            thresholds=self._bundle.thresholds,
            member_weights=self._member_weights,
        )
        self._metrics.batch_stage("score", perf_counter() - started)
        return scores

    def _infer(self, predict: Callable[[], Predictions]) -> Predictions:
        started = perf_counter()
        predictions = predict()
        self._metrics.batch_stage("infer", perf_counter() - started)
        return predictions


def _faults(outcomes: Sequence[Outcome]) -> dict[int, str]:
    """Why images could not be decoded, by position."""
    return {index: outcome for index, outcome in enumerate(outcomes) if isinstance(outcome, str)}


def to_be_kept(products: Sequence[Filed], outcomes: Sequence[Outcome], image_field: str | None) -> list[Record]:
    """The products as they may wait for labelling: with the image that was classified, also if it came by its URL.

    Without one that nobody can see, or that is too large to keep.

    Parameters
    ----------
    outcomes : what became of the image of each
    """
    if not image_field:
        return [record for record, _ in products]
    return [
        _with_its_image(record, content, image_field, is_readable=not isinstance(outcome, str))
        for (record, content), outcome in zip(products, outcomes, strict=True)
    ]


def _with_its_image(record: Record, content: bytes | None, image_field: str, *, is_readable: bool) -> Record:
    posted = record.get(image_field)
    n_characters = len(posted) if posted else 4 * -(-len(content or b"") // 3)
    if not is_readable or n_characters > MAX_KEPT_CHARACTERS:
        return {**record, image_field: None}
    return record if posted or content is None else {**record, image_field: b64encode(content).decode()}
