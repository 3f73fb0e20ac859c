"""Traffic of a real catalogue: what a stored bundle says of its stream, with the stream's truth, to sample from.

For simulations only, and only of the stream: what is true of the test part is for reporting.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.simulated_traffic import Float, Traffic
from service.acquisition.sampling import fingerprint
from service.acquisition.scores import Scores, score
from service.bundles.bundle import read_bundle
from service.bundles.bundle_store import BundleStore
from training.catalogues.catalogue import Labels, open_catalogue
from training.predict import predict


@dataclass(frozen=True)
class Stream:
    """Everything that the bundle says of the stream; arrays (n_products, n_classes)."""

    probabilities: Float
    scores: Scores
    truth: Labels
    thresholds: Float

    @property
    def n_classes(self) -> int:
        """Of the bundle."""
        return int(self.probabilities.shape[1])

    def sample(self, n_products: int, *, rng: np.random.Generator) -> Traffic:
        """Draw products without putting back; where the truth is unknown it counts as no."""
        rows = rng.permutation(len(self.probabilities))[:n_products]
        scores = self.scores
        return Traffic(
            records=[{"id": index} for index in range(len(rows))],
            fingerprints=[fingerprint({"id": int(row)}) for row in rows],
            probabilities=self.probabilities[rows],
            scores=Scores(scores.uncertainty[rows], scores.disagreement[rows], scores.doubt[rows]),
            truth=self.truth[rows] == 1,
            thresholds=self.thresholds,
        )


def read_stream(catalogue: Path, home: Path) -> Stream:
    """Let the current bundle of a model store classify the stream of a catalogue."""
    store = BundleStore(home)
    bundle = read_bundle(store.load())
    part = open_catalogue(catalogue).read("stream")
    if part.truth is None:
        raise SystemExit("the stream needs its truth")
    said = predict(bundle, part.products, progress=lambda *_: None)
    manifest = bundle.manifest
    probabilities = said.probabilities.astype(np.float64)
    scores = score(
        probabilities=probabilities,
        member_probabilities=said.member_probabilities,
        present=said.present,
        thresholds=manifest.thresholds,
        member_weights=[member.weights for member in manifest.members],
    )
    return Stream(probabilities, scores, part.truth, np.asarray(manifest.thresholds, dtype=np.float64))
