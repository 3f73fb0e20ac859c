"""The service in the test's own process: its ASGI application, started and stopped as a server would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.routing import Route
from starlette.testclient import TestClient

from service.app import create_app, guarded
from service.classifier import Classifier
from service.image_fetch import ImageFetcher
from service.settings import Settings
from service.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Backend:
    """A running service: its client, its numbers, and its use case."""

    client: TestClient
    registry: CollectorRegistry
    metrics: Metrics
    classifier: Classifier
    routes: list[Route]

    def number(self, name: str, **labels: str) -> float | None:
        """Value of a metric's sample."""
        self.metrics.write()
        return self.registry.get_sample_value(name, labels)


@contextmanager
def serving(home: Path, *, fetcher: ImageFetcher | None = None, **environment: str) -> Iterator[Backend]:
    """Serve what is current in the model store under `home`."""
    settings = Settings.from_env({"BENTOML_HOME": str(home), **environment})
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    app = create_app(settings, metrics, fetcher=fetcher)
    whole = guarded(app, settings, on_refusal=metrics.requests.refused)
    with TestClient(whole, base_url="http://127.0.0.1:3000", raise_server_exceptions=False) as client:
        yield Backend(client, registry, metrics, app.state.classifier, [r for r in app.routes if isinstance(r, Route)])
