"""The image fetcher against a canary on loopback: every spelling and every answer of a name server, many at once.

Run: python -m benchmarks.url_fetching. Twenty rounds of 32 fetches at a time, each to a URL that leads to the canary if
it is followed carelessly; and once, to show that the canary would notice, with the check of addresses off.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.claims import Claim, conclude
from service.image_fetch import ImageFetcher
from tests.image_host import NAME, Certificate, canary, fetch_all, make_certificate, trusting
from tests.url_spellings import LOOPBACK_ANSWERS, SPELLINGS

N_ROUNDS, N_AT_ONCE, N_SPELLINGS = 20, 32, 40


def main() -> int:
    """Fetch, and count who knocked."""
    with tempfile.TemporaryDirectory(prefix="winnow-urls-") as temporary:
        careless = asyncio.run(_without_check(make_certificate(Path(temporary))))
    outcomes, n_reached = asyncio.run(_rounds())
    said = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.items())
    n_spellings = len(SPELLINGS)
    claims = [
        Claim(f"at least {N_SPELLINGS} spellings", f"{n_spellings}, and {len(LOOPBACK_ANSWERS)} answers of names",
              n_spellings >= N_SPELLINGS),
        Claim(f"{N_ROUNDS} rounds of {N_AT_ONCE} at once reach the canary 0 times", f"{n_reached} times; {said}",
              n_reached == 0 and outcomes.total() == N_ROUNDS * N_AT_ONCE),
        Claim("without the check of addresses it is reached", f"{careless} times", careless == 1),
    ]  # fmt: skip
    return conclude("Images by URL", claims)


async def _rounds() -> tuple[Counter[str], int]:
    outcomes: Counter[str] = Counter()
    async with canary() as bird:
        names = {f"n{index}.shop.example": answers for index, answers in enumerate(LOOPBACK_ANSWERS)}
        fetcher = ImageFetcher(
            [NAME, "*.shop.example"], resolve=lambda host, _: names.get(host, ("127.0.0.1",)), port=bird.port
        )
        resolved = [f"https://{name}:{bird.port}/" for name in names]
        attempts = itertools.cycle([*(url.replace("PORT", str(bird.port)) for url in SPELLINGS), *resolved])
        for _ in range(N_ROUNDS):
            fetches = await fetch_all(fetcher, list(itertools.islice(attempts, N_AT_ONCE)))
            outcomes += Counter(fetch.outcome for fetch in fetches)
        fetcher.close()
        return outcomes, bird.n_reached


async def _without_check(certificate: Certificate) -> int:
    async with canary() as bird:
        await fetch_all(trusting(certificate, bird.port), [f"https://{NAME}:{bird.port}/"])
        return bird.n_reached


if __name__ == "__main__":
    raise SystemExit(main())
