"""Classifying products: decode, encode, batch, score; knows nothing of HTTP.

Reading products from a request is left to `service.api.product_reader`, writing answers to `service.api.classify_api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from service.acquisition.intake import ServedBundle
from service.acquisition.scores import score
from service.batcher import Batcher
from service.bundles.bundle import Manifest, read_bundle
from service.cohort_keeper import CohortKeeper
from service.contracts import Predictions
from service.decoding import Decoders, Pixels
from service.ensemble import Device, Ensemble
from service.errors import NoBundle
from service.features.batch_encoder import BatchEncoder
from service.features.encoder import Encoder, collate
from service.scored import Scored, scored_batch
from service.telemetry.metrics import Metrics
from service.telemetry.traffic import N_RECORDS, TrafficWatch

MAX_KEPT_CHARACTERS = 1_000_000  # of an image in base64: a cohort keeps a hundred products in memory until it is sealed
N_RUNS = 4  # of the graph, in what is answered together: sorted by length, its products have an eighth less padding
MANY_PRODUCTS = 8  # from here on, encoding them together costs less than one by one
QUIET_TURNS = 2  # a request that has arrived begins its work in the turn after next

Record = Mapping[str, Any]
Pictured = tuple[Record, Pixels | None]  # a product as it waits for labelling, and its decoded image


class Served:
    """One bundle, ready to answer; never changes, so that a request that holds it is answered by one version."""

    def __init__(
        self,
        directory: Path,
        *,
        batch_size: int,
        device: Device,
        inference: ThreadPoolExecutor,
        metrics: Metrics,
        keeper: CohortKeeper | None,
    ) -> None:
        """Read, verify and open a bundle.

        Raises
        ------
        BundleRefused
            If it is damaged or does not reproduce its golden batch.
        """
        bundle = read_bundle(directory)
        self.manifest: Manifest = bundle.manifest
        self._batch_size = batch_size
        self._inference = inference
        self._encoder = Encoder(bundle.encoding)
        self._batch_encoder = BatchEncoder(bundle.manifest.fields, bundle.encoding)
        self.image_size = bundle.encoding.image_size
        self.batcher: Batcher[Pictured, Scored] = Batcher(
            self._run,
            max_batch_size=N_RUNS * batch_size,
            quiet_turns=QUIET_TURNS,
            on_wait=lambda seconds: metrics.classify.batch_stage("wait", seconds),
        )
        self._ensemble = Ensemble(bundle, device=device)
        self._classes = bundle.manifest.taxonomy.classes
        self._members = [member.name for member in bundle.manifest.members]
        self._thresholds = np.asarray(bundle.manifest.thresholds, dtype=np.float64)
        self._member_weights = np.asarray([member.weights for member in bundle.manifest.members], dtype=np.float64)
        self._metrics = metrics.classify
        self._traffic = TrafficWatch(bundle.manifest, metrics.traffic)
        self._keeper = keeper
        self._for_intake = ServedBundle(
            version=bundle.manifest.version,
            classes=bundle.manifest.taxonomy.classes,
            thresholds=self._thresholds,
            priors=np.asarray(bundle.manifest.priors, dtype=np.float64),
        )

    async def _run(self, products: Sequence[Pictured]) -> Scored:
        started = perf_counter()
        records, images = [record for record, _ in products], [image for _, image in products]
        predictions = await self._predict(records, images)
        inferred = perf_counter()
        scores = score(
            probabilities=predictions.probabilities,
            member_probabilities=predictions.member_probabilities,
            present=predictions.present,
            thresholds=self._thresholds,
            member_weights=self._member_weights,
        )
        self._metrics.batch_stage("score", perf_counter() - inferred)
        self._metrics.batch(len(products), perf_counter() - started)
        if self._keeper is not None:
            self._keeper.take(
                self._for_intake,
                id_field=self.manifest.fields.id,
                records=records,
                predictions=predictions,
                scores=scores,
            )
        batch = scored_batch(
            predictions, scores, thresholds=self._thresholds, classes=self._classes, members=self._members
        )
        self._traffic.take(batch.seen(records[:N_RECORDS]))
        return Scored(batch, 0, len(products))

    async def _predict(self, records: Sequence[Record], images: Sequence[Pixels | None]) -> Predictions:
        """Encode here and run the graph in its thread: two threads of Python only wait for each other."""
        started = perf_counter()
        if len(records) < MANY_PRODUCTS:
            product = self.manifest.fields.product
            pairs = zip(records, images, strict=True)
            inputs = collate([self._encoder.encode(product(record), image) for record, image in pairs])
            predict = partial(self._ensemble.predict, inputs)
        else:
            batch = self._batch_encoder.encode(records, images)
            predict = partial(self._ensemble.predict_by_length, batch, self._batch_size)
        self._metrics.batch_stage("encode", perf_counter() - started)
        return await asyncio.get_running_loop().run_in_executor(self._inference, self._infer, predict)

    def _infer(self, predict: Callable[[], Predictions]) -> Predictions:
        started = perf_counter()
        predictions = predict()
        self._metrics.batch_stage("infer", perf_counter() - started)
        return predictions

    def publish(self) -> None:
        """Count what was classified since the last time; to be called now and then."""
        self._traffic.publish()


def to_be_kept(records: Sequence[Record], image_field: str | None, unreadable: Container[int]) -> list[Record]:
    """The products as they may wait for labelling: without an image that nobody can see, or that is too large to keep.

    Parameters
    ----------
    unreadable : positions of the images that cannot be decoded
    """
    return [
        {**record, image_field: None}
        if image_field and (index in unreadable or len(record.get(image_field) or "") > MAX_KEPT_CHARACTERS)
        else record
        for index, record in enumerate(records)
    ]


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer to one request.

    Parameters
    ----------
    served : the bundle that answered, all of it
    parts : what is said about the products, in their order
    unreadable : position of each product whose image could not be decoded, with the reason
    """

    served: Served
    parts: list[Scored]
    unreadable: dict[int, str]


class Classifier:
    """The use case: products in, probabilities and scores out, by the bundle that is served.

    Parameters
    ----------
    batch_size : products that run through the graph at once
    device : on which it runs
    n_decoders : threads that decode images
    keeper : samples what is classified for labelling; nothing is sampled without one
    """

    def __init__(
        self,
        *,
        batch_size: int,
        n_decoders: int,
        metrics: Metrics,
        keeper: CohortKeeper | None = None,
        device: Device = "cpu",
    ) -> None:
        self._batch_size = batch_size
        self._device = device
        self._metrics = metrics
        self._keeper = keeper
        self._inference = ThreadPoolExecutor(1, thread_name_prefix="inference")
        self._decoders = Decoders(n_decoders)
        self._served: Served | None = None

    @property
    def ready(self) -> bool:
        """Whether a bundle is served."""
        return self._served is not None

    @property
    def manifest(self) -> Manifest | None:
        """Of the bundle that is served, if there is one."""
        return None if self._served is None else self._served.manifest

    @property
    def served(self) -> Served:
        """The bundle that answers requests from now on.

        Raises
        ------
        NoBundle
            Before the first one has been loaded.
        """
        if self._served is None:
            raise NoBundle("no model is loaded yet; promote one in the model store")
        return self._served

    def load(self, directory: Path) -> Manifest:
        """Serve the bundle in a directory; on refusal, what was served before goes on. Blocks; any thread may call it.

        Raises
        ------
        BundleRefused
            If it is damaged or does not reproduce its golden batch.
        """
        served = Served(
            directory,
            batch_size=self._batch_size,
            device=self._device,
            inference=self._inference,
            metrics=self._metrics,
            keeper=self._keeper,
        )
        self._served = served
        self._metrics.bundle.serving(
            version=served.manifest.version,
            taxonomy=served.manifest.taxonomy.version,
            created_seconds=served.manifest.created_at.timestamp(),
        )
        return served.manifest

    async def classify(self, served: Served, records: Sequence[Record], images: Mapping[int, bytes]) -> Classification:
        """Answer some products by one bundle; an image that cannot be decoded counts as missing, and is reported.

        Parameters
        ----------
        records : the products as they came
        images : files by the position of their product
        """
        pixels: dict[int, Pixels] = {}
        unreadable: dict[int, str] = {}
        if images:
            started = perf_counter()
            pixels, unreadable = await self._decoders.decode(images, served.image_size)
            self._metrics.classify.stage("decode", perf_counter() - started)
            records = to_be_kept(records, served.manifest.fields.image, unreadable)
        products = [(record, pixels.get(index)) for index, record in enumerate(records)]
        parts = await served.batcher.submit(products)
        self._metrics.classify.classified(len(products), len(unreadable))
        return Classification(served, parts, unreadable)

    def tick(self) -> None:
        """Let the open cohort be sealed if it is due; to be called now and then, also when there is no traffic."""
        if self._served is None:
            return
        self._served.publish()
        if self._keeper is not None:
            self._keeper.tick(self._served.manifest.version)

    def close(self) -> None:
        """Stop the threads, after what they are at; seal the open cohort."""
        self._inference.shutdown()
        self._decoders.close()
        if self._keeper is not None:
            self._keeper.close()
