"""Schemathesis over our own OpenAPI document, against a real server: every route does what the document says.

Run: python -m benchmarks.schema_conformance [SCHEMATHESIS]. It serves the promoted bundle of BENTOML_HOME from a copy
and runs the program SCHEMATHESIS, by default the one on PATH (`pip install schemathesis==4.32.5` in an environment of
its own). Fails if it finds anything, or if a request was answered with a server error.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.claims import Claim, conclude
from benchmarks.servers import serving, winnow_command
from benchmarks.traffic import copied_home

N_REQUESTS = 2_000
SEEDS = (1, 2)
LINE = 300  # characters of a line of its report
CONFIG = Path(__file__).parent / "schemathesis.toml"
FAILED = re.compile(r'^winnow_requests_total\{outcome="(?P<outcome>\w+)"[^}]*\} (?P<n>\S+)$', re.MULTILINE)


def main() -> int:
    """Serve, run, count."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("schemathesis", nargs="?", default="schemathesis")
    parser.add_argument("--examples", type=int, default=200, help="generated requests a route and phase, at most")
    parser.add_argument("--stand-in", action="store_true", help="a tiny bundle")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="winnow-schema-") as temporary:
        directory = Path(temporary)
        home = copied_home(directory, tiny=arguments.stand_in)
        environment = {"BENTOML_HOME": str(home), "WINNOW_IMAGE_HOSTS": "cdn.shop.example"}
        with serving("winnow", winnow_command(), ready="/readyz", environment=environment) as server:
            document, program = f"{server.url}/openapi.json", arguments.schemathesis
            runs = [_run(program, document, seed, directory, n_examples=arguments.examples) for seed in SEEDS]
            outcomes = _outcomes(f"{server.url}/metrics")
    for said in (said for status, said in runs if status):
        lines = (line[:LINE] for line in said.splitlines())
        print("\n".join(lines))  # noqa: T201  its report is long, and only wanted when it finds something
    return conclude("Schemathesis", _claims(runs, outcomes))


def _run(program: str, document: str, seed: int, directory: Path, *, n_examples: int) -> tuple[int, str]:
    command = [
        program,
        "--config-file",
        str(CONFIG),
        "run",
        document,
        "--max-examples",
        str(n_examples),
        "--seed",
        str(seed),
    ]
    command += ["--no-color", "--continue-on-failure", "--suppress-health-check", "all"]
    command += ["--generation-database", "none"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=540, check=False)
    return done.returncode, done.stdout + done.stderr


def _outcomes(url: str) -> dict[str, int]:
    totals: dict[str, int] = {}
    for found in FAILED.finditer(httpx.get(url, timeout=20).text):
        totals[found["outcome"]] = totals.get(found["outcome"], 0) + int(float(found["n"]))
    return totals


def _claims(runs: Sequence[tuple[int, str]], outcomes: dict[str, int]) -> list[Claim]:
    summary = "; ".join(said.strip().splitlines()[-1].strip("= ") if said.strip() else "nothing" for _, said in runs)
    n_requests, n_failed = sum(outcomes.values()), outcomes.get("failed", 0)
    n_bad = outcomes.get("refused", 0)
    return [
        Claim("schemathesis finds no failure", summary, not any(status for status, _ in runs)),
        Claim(f"at least {N_REQUESTS} generated requests are refused", f"{n_bad} of {n_requests}", n_bad >= N_REQUESTS),
        Claim("none is answered with a server error", f"{n_failed} of {n_requests}", n_failed == 0),
    ]


if __name__ == "__main__":
    raise SystemExit(main())
