"""Runs a bundle's graph: the one file in which onnxruntime enters.

What goes in is made by `service.features.encoder`; what the numbers mean for a product is left to `service.served`.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from service.bundles.bundle import GOLDEN_TOLERANCE, Bundle, Manifest
from service.contracts import MODALITIES, Predictions
from service.errors import BundleRefused, UnusablePrediction
from service.features.batch_encoder import EncodedBatch

INPUTS = {  # what `service.features.encoder.collate` makes; a graph may leave out what it does not read
    "token_ids": "tensor(int64)",
    "bag_ids": "tensor(int64)",
    "bag_values": "tensor(float)",
    "category_ids": "tensor(int64)",
    "numbers": "tensor(float)",
    "images": "tensor(uint8)",
    "image_rows": "tensor(int64)",
    "present": "tensor(float)",
}
Device = Literal["cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
PICTURES = ("images", "image_rows")
IMAGE = MODALITIES.index("image")
OUTPUTS = ("probabilities", "member_probabilities", "embedding")
PROBABILITY_SLACK = 1e-5  # a graph may round a little beyond 0 and 1

logger = logging.getLogger(__name__)

_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class Ensemble:
    """The members of one bundle in one session; safe to call from any thread."""

    def __init__(self, bundle: Bundle, *, device: Device = "cpu") -> None:
        """Open the graph and run the golden batch.

        Parameters
        ----------
        device : where it runs; without a usable GPU that is the CPU, and an error is logged

        Raises
        ------
        BundleRefused
            If onnxruntime cannot load the graph from its bytes alone with its own operators, if inputs or outputs are
            not those we know, or if the golden batch does not give the expected outputs.
        """
        self._session = _open_session(bundle, device)
        self._inputs = _checked_inputs(self._session, bundle.manifest)
        self._reads = _modalities_read(bundle.manifest)
        self.needs_no_picture = False  # whether it runs without any where no product has one
        _check_golden(self, bundle)
        self.needs_no_picture = _runs_without_pictures(self._session, self._inputs, bundle.golden_inputs)

    def predict(self, inputs: Mapping[str, NDArray[Any]]) -> Predictions:
        """Run a batch that `collate` made.

        Raises
        ------
        UnusablePrediction
            If an output is not finite, or a probability lies outside [0, 1].
        """
        given = {name: inputs[name] for name in self._inputs}
        if self.needs_no_picture and not inputs["present"][:, IMAGE].any():
            given |= {name: given[name][:0] for name in PICTURES}
        try:
            outputs = self._session.run(OUTPUTS, given)
        except _LOAD_ERRORS as error:
            raise UnusablePrediction("the graph failed on this batch") from error
        predictions = Predictions(
            probabilities=_as_probabilities(outputs[0]),
            member_probabilities=_as_probabilities(outputs[1]),
            present=inputs["present"] @ self._reads > 0,
            embedding=outputs[2],
        )
        if not np.isfinite(predictions.embedding).all():
            raise UnusablePrediction("the graph gave an embedding that is not finite")
        return predictions

    def predict_by_length(self, batch: EncodedBatch, batch_size: int) -> Predictions:
        """Run any number of products, those of like length together, which have little padding.

        Parameters
        ----------
        batch_size : products that run at once at most
        """
        n_runs = -(-len(batch) // batch_size)
        if n_runs <= 1:
            return self.predict(batch.inputs(np.arange(len(batch))))
        order = batch.by_length()
        runs = [self.predict(batch.inputs(rows)) for rows in np.array_split(order, n_runs)]
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return Predictions(
            probabilities=np.concatenate([run.probabilities for run in runs])[back],
            member_probabilities=np.concatenate([run.member_probabilities for run in runs])[back],
            present=np.concatenate([run.present for run in runs])[back],
            embedding=np.concatenate([run.embedding for run in runs])[back],
        )


def _open_session(bundle: Bundle, device: Device) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # one worker a core: threads of one session would only wait for each other
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong comes as an exception
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Weights named in other files would be looked for in the working directory: look where nothing can be.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    try:
        session = ort.InferenceSession(bundle.graph, options, providers=_providers(device))
    except _LOAD_ERRORS as error:
        raise BundleRefused(
            f"{bundle.manifest.version}: onnxruntime cannot load the graph; "
            "it must be valid, hold its weights itself, and use no custom operators"
        ) from error
    if device == "cuda" and CUDA not in session.get_providers():  # it was built in, but found no GPU or no libraries
        logger.error("no GPU to run on, the CPU does it", extra={"version": bundle.manifest.version})
    return session


def _providers(device: Device) -> list[str]:
    """Where to run, best first; to name one that is not built in would be an error of onnxruntime."""
    return [CUDA, CPU] if device == "cuda" and CUDA in ort.get_available_providers() else [CPU]


def _checked_inputs(session: ort.InferenceSession, manifest: Manifest) -> tuple[str, ...]:
    for graph_input in session.get_inputs():
        if INPUTS.get(graph_input.name) != graph_input.type:
            raise BundleRefused(f"{manifest.version}: unknown graph input {graph_input.name}: {graph_input.type}")
    outputs = {output.name for output in session.get_outputs()}
    missing = sorted(set(OUTPUTS) - outputs)
    if missing:
        raise BundleRefused(f"{manifest.version}: the graph has no output named {', '.join(missing)}")
    return tuple(graph_input.name for graph_input in session.get_inputs())


def _runs_without_pictures(
    session: ort.InferenceSession, names: Sequence[str], golden: Mapping[str, NDArray[Any]]
) -> bool:
    """Whether no picture at all gives what one that belongs to no product gives.

    Where no product has a picture, an encoder of images takes longer over the one that nobody reads than all the other
    members together. Not every version and device of onnxruntime runs a convolution on nothing, so it is tried.
    """
    if not set(PICTURES) <= set(names):
        return False
    unseen = {name: golden[name] for name in names}
    unseen |= {"images": golden["images"][:1], "image_rows": np.asarray([len(golden["present"])], dtype=np.int64)}
    if "present" in unseen:
        unseen["present"] = golden["present"] * (np.arange(len(MODALITIES)) != IMAGE).astype(np.float32)
    try:
        expected = session.run(OUTPUTS, unseen)
        found = session.run(OUTPUTS, unseen | {name: unseen[name][:0] for name in PICTURES})
    except _LOAD_ERRORS:
        return False
    return all(map(_is_close, found, expected))


def _modalities_read(manifest: Manifest) -> NDArray[np.float32]:
    reads = [[modality in member.modalities for member in manifest.members] for modality in MODALITIES]
    return np.asarray(reads, dtype=np.float32)


def _as_probabilities(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lowest, highest = np.minimum.reduce(values, axis=None), np.maximum.reduce(values, axis=None)
    if not (lowest >= -PROBABILITY_SLACK and highest <= 1 + PROBABILITY_SLACK):  # so it is with a NaN among them
        raise UnusablePrediction("the graph gave a probability that is not in [0, 1]")
    return values if lowest >= 0 and highest <= 1 else np.clip(values, 0.0, 1.0)


def _check_golden(ensemble: Ensemble, bundle: Bundle) -> None:
    version = bundle.manifest.version
    missing = sorted(set(INPUTS) - set(bundle.golden_inputs)) + sorted(set(OUTPUTS) - set(bundle.golden_outputs))
    if missing:
        raise BundleRefused(f"{version}: the golden batch lacks {', '.join(missing)}")
    try:
        predictions = ensemble.predict(bundle.golden_inputs)
    except UnusablePrediction as error:
        raise BundleRefused(f"{version}: the golden batch fails: {error}") from error
    n_products, n_classes = len(bundle.golden_inputs["present"]), len(bundle.manifest.taxonomy)
    _check_shape(version, "probabilities", predictions.probabilities, (n_products, n_classes))
    member_shape = (n_products, len(bundle.manifest.members), n_classes)
    _check_shape(version, "member_probabilities", predictions.member_probabilities, member_shape)
    for name in OUTPUTS:
        _check_close(version, name, getattr(predictions, name), bundle.golden_outputs[name])


def _check_shape(version: str, name: str, values: NDArray[np.float32], expected: tuple[int, ...]) -> None:
    if values.shape != expected:
        raise BundleRefused(f"{version}: {name} has shape {values.shape}, the manifest says {expected}")


def _check_close(version: str, name: str, values: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    if not _is_close(values, expected):
        raise BundleRefused(f"{version}: {name} of the golden batch differ from what was expected")


def _is_close(values: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return values.shape == expected.shape and np.allclose(
        values, expected, rtol=GOLDEN_TOLERANCE, atol=GOLDEN_TOLERANCE
    )
