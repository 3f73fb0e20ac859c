"""Promotes hundreds of damaged bundles beside a whole one that serves, and counts which are refused.

Run: python -m benchmarks.damaged_bundles [N]. Each is a copy of the promoted bundle of BENTOML_HOME with one bit
flipped, one file cut short, emptied, missing, exchanged with another or replaced by a link to its twin. After each the
bundle that serves must still answer as before. Fails if one is taken over.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from prometheus_client import CollectorRegistry

from benchmarks.claims import Claim, conclude
from benchmarks.traffic import copied_home
from service.bundles.bundle import ENCODING, GOLDEN, GRAPH, MANIFEST, read_bundle
from service.bundles.bundle_store import BundleStore
from service.bundles.swap import Swapper
from service.classifier import Classifier
from service.ensemble import Ensemble
from service.telemetry.metrics import Metrics

FILES = (GRAPH, ENCODING, GOLDEN, MANIFEST)  # all that serving reads
N_DAMAGED = 300

Damage = Callable[[Path, Random], None]


def main() -> int:
    """Damage, promote, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("n_damaged", nargs="?", type=int, default=N_DAMAGED)
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-damaged-") as temporary:
        directory = Path(temporary)
        home = copied_home(directory, tiny=arguments.stand_in)
        logging.getLogger("service").setLevel(logging.CRITICAL)  # each refusal is logged
        claims = damaged_promotions(BundleStore(home), n_damaged=arguments.n_damaged, rng=Random(0))
    return conclude("Damaged bundles", claims)


def damaged_promotions(store: BundleStore, *, n_damaged: int, rng: Random) -> list[Claim]:
    """Offer one damaged bundle after the other to a worker that serves the promoted one."""
    whole = store.load()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    classifier = Classifier(batch_size=8, n_decoders=1, metrics=metrics)
    swapper = Swapper(store, classifier, metrics.bundle)
    swapper.check(whole.name, now_seconds=0.0)
    answer = _answer(whole)
    refused: Counter[str] = Counter()
    offered: Counter[str] = Counter()
    n_changed = 0
    started = time.process_time()
    for number in range(n_damaged):
        kind = list(DAMAGES)[number % len(DAMAGES)]
        damaged = _copy(whole, store.directory / f"damaged-{number}")
        DAMAGES[kind](damaged, rng)
        offered[kind] += 1
        refused[kind] += swapper.check(damaged.name, now_seconds=100.0 * number + 100) == "refused"
        n_changed += classifier.served.manifest.version != whole.name
        shutil.rmtree(damaged)
    seconds = time.process_time() - started
    classifier.close()
    counted = registry.get_sample_value("winnow_bundle_swaps_total", {"outcome": "refused"}) or 0.0
    found = ", ".join(f"{kind} {refused[kind]} of {offered[kind]}" for kind in DAMAGES)
    total = f"{refused.total()} of {n_damaged} refused ({found}); {seconds:.0f} s of CPU"
    same = np.array_equal(_answer(whole), answer)
    return [
        Claim("every damaged bundle is refused", total, refused.total() == n_damaged),
        Claim(
            "the one before serves on",
            f"replaced {n_changed} times, its answers the same: {same}",
            same and not n_changed,
        ),
        Claim("each refusal is counted", f"{counted:.0f}", counted == n_damaged),
    ]


def flip_a_bit(directory: Path, rng: Random) -> None:
    """Change one bit of one file."""
    path = directory / rng.choice(FILES)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut_short(directory: Path, rng: Random) -> None:
    """Lose the end of one file, perhaps all of it."""
    path = directory / rng.choice(FILES)
    os.truncate(path, rng.randrange(path.stat().st_size))


def exchange(directory: Path, rng: Random) -> None:
    """Give two files each other's names."""
    first, second = rng.sample(FILES, 2)
    (directory / first).rename(directory / "aside")
    (directory / second).rename(directory / first)
    (directory / "aside").rename(directory / second)


def link(directory: Path, rng: Random) -> None:
    """Put a link in place of one file; what it leads to is whole."""
    path = directory / rng.choice(FILES)
    twin = directory / "twin"
    path.rename(twin)
    path.symlink_to(twin)


def lose(directory: Path, rng: Random) -> None:
    """Lose one file."""
    (directory / rng.choice(FILES)).unlink()


def repeat_the_end(directory: Path, rng: Random) -> None:
    """Write some bytes of one file twice, as a copy that was resumed wrongly does."""
    path = directory / rng.choice(FILES)
    content = path.read_bytes()
    path.write_bytes(content + content[-rng.randint(1, min(len(content), 4096)) :])


DAMAGES: dict[str, Damage] = {
    "bit flipped": flip_a_bit,
    "cut short": cut_short,
    "exchanged": exchange,
    "a link": link,
    "lost": lose,
    "its end twice": repeat_the_end,
}


def _copy(whole: Path, target: Path) -> Path:
    target.mkdir()
    for name in FILES:
        shutil.copyfile(whole / name, target / name)
    return target


def _answer(directory: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    bundle = read_bundle(directory)
    return Ensemble(bundle).predict(bundle.golden_inputs).probabilities


if __name__ == "__main__":
    raise SystemExit(main())
