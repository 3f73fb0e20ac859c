"""Classifying products by the bundle that is served, which can change at any time; knows nothing of HTTP.

What a bundle does with products is left to `service.served`, writing answers to `service.api.classify_api`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from service.bundles.bundle import Manifest
from service.cohort_keeper import CohortKeeper
from service.decoding import Decoders
from service.ensemble import Device
from service.errors import NoBundle
from service.scored import Scored
from service.served import Record, Served, Shared
from service.telemetry.metrics import Metrics


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
        self._metrics = metrics
        self._keeper = keeper
        self._shared = Shared(
            batch_size=batch_size,
            device=device,
            inference=ThreadPoolExecutor(1, thread_name_prefix="inference"),
            decoders=Decoders(n_decoders, on_decoded=lambda seconds: metrics.classify.batch_stage("decode", seconds)),
            metrics=metrics,
            keeper=keeper,
        )
        self._served: Served | None = None
        self._replaced: list[Served] = []  # since the last tick

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
        served = Served(directory, self._shared)
        replaced, self._served = self._served, served
        if replaced is not None:
            replaced.retire()
            self._replaced.append(replaced)
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
        parts, unreadable = await served.classify(records, images)
        self._metrics.classify.classified(len(records), len(unreadable))
        return Classification(served, parts, unreadable)

    def tick(self) -> None:
        """Let the open cohort be sealed if it is due, and publish; to be called now and then, also without traffic."""
        if self._served is None:
            return
        if self._keeper is not None:
            self._keeper.tick(self._served.manifest.version)
        self._publish()

    def close(self) -> None:
        """Stop the threads, after what they are at; seal the open cohort, and publish."""
        if self._served is not None:
            self._served.retire()
        self._shared.inference.shutdown()
        self._shared.decoders.close()
        if self._keeper is not None:
            self._keeper.close()
        self._publish()

    def _publish(self) -> None:
        while self._replaced:
            self._replaced.pop().publish()
        if self._served is not None:
            self._served.publish()
