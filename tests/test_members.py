"""The members one by one: their form in the graph is what was fitted, and padding means nothing to them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from service.contracts import MODALITIES, FieldSpec, Product
from service.features.encoder import EncodedProduct, Encoder, Encoding, collate
from training.encode import factors_of, gram_parts, learn_encoding
from training.joint import JointNetwork, JointOptions, as_batch
from training.members.linear import linear_logits
from training.members.linear_design import design
from training.members.linear_fit import fit_linear
from training.members.trees import FittedTrees, fit_trees, tree_features
from training.noise import label_trust
from training.weights import class_weights, priors, served_priors, trainable_classes

FIELDS = FieldSpec.model_validate(
    {"id": "sku", "text": ["title"], "categorical": ["brand", "merchant"], "numerical": ["price"], "image": "photo"}
)
COLOURS = ("red", "blue", "green")


def products(n_products: int = 240, seed: int = 0) -> list[Product]:
    rng = np.random.default_rng(seed)
    return [
        Product(
            product_id=str(row),
            texts=(f"{COLOURS[row % 3]} shirt {rng.integers(100)}",),
            categories=((f"brand{rng.integers(5)}",), (f"m{row % 4}",)),
            numbers=(float(rng.gamma(2.0, 20.0)) if row % 7 else math.nan,),
            image=None,
        )
        for row in range(n_products)
    ]


def targets_of(made: list[Product]) -> NDArray[np.int8]:
    return np.array([[word in product.texts[0] for word in COLOURS] for product in made], dtype=np.int8)


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    return learn_encoding(products(), FIELDS, image_size=16)


@pytest.fixture(scope="module")
def encoded(encoding: Encoding) -> list[EncodedProduct]:
    rng = np.random.default_rng(0)
    encoder = Encoder(encoding)
    return [
        encoder.encode(product, rng.integers(0, 256, (16, 16, 3), dtype=np.uint8) if row % 3 else None)
        for row, product in enumerate(products())
    ]


def test_the_merchant_is_not_read(encoding: Encoding) -> None:
    encoder = Encoder(encoding)
    one, other = (Product("1", ("red",), (("brand1",), (merchant,)), (1.0,), None) for merchant in ("m0", "m1"))

    assert encoder.encode(one, None).category_ids == encoder.encode(other, None).category_ids
    assert len(encoder.encode(one, None).category_ids) == 1


@pytest.mark.parametrize("unit", [1e-6, 1e-9, 1e-12, 1e-30])
def test_numbers_in_a_tiny_unit_are_told_apart_as_well_as_in_one_that_suits_them(unit: float) -> None:
    farads = np.random.default_rng(0).lognormal(3.0, 2.0, 500)
    fields = FieldSpec.model_validate({"id": "id", "numerical": ["capacity"]})

    def encoded(values: NDArray[np.float64]) -> NDArray[np.float32]:
        made = [Product(str(row), (), (), (value,), None) for row, value in enumerate(values.tolist())]
        encoder = Encoder(learn_encoding(made, fields))
        return np.array([encoder.encode(product, None).numbers[0] for product in made])

    tiny, suited = encoded(farads * unit), encoded(farads)

    assert np.corrcoef(tiny, suited)[0, 1] > 0.98
    assert tiny.std() == pytest.approx(1.0, abs=0.01)


@given(st.lists(st.floats(1e-3, 1e18) | st.floats(-1e18, -1e-3) | st.just(0.0), max_size=9))
def test_numbers_in_a_usual_unit_get_no_factor(values: list[float]) -> None:
    assert factors_of(np.array(values).reshape(-1, 1)) == ()


@pytest.mark.parametrize("column", [[1e-9] * 4, [5e-324, 0.0, math.nan, 5e-324], [1e-300, 1e-300, 1e-300, 1e300]])
def test_columns_without_a_spread_or_with_the_widest_become_finite_numbers(column: list[float]) -> None:
    made = [Product("1", (), (), (value,), None) for value in column]
    encoder = Encoder(learn_encoding(made, FieldSpec.model_validate({"id": "id", "numerical": ["capacity"]})))

    encoded = np.array([encoder.encode(product, None).numbers for product in made])

    assert np.isfinite(encoded).all()


def test_every_known_gram_of_a_known_word_is_a_part_of_it(encoding: Encoding) -> None:
    word_ids, gram_ids = gram_parts(encoding.text)

    names = {rank: name for name, rank in encoding.text.bag.items()}
    pairs = {(names[word], names[gram]) for word, gram in zip(word_ids, gram_ids, strict=True)}

    assert all(gram[1:] in f"<{word}>" for word, gram in pairs)


@pytest.mark.parametrize("wide", [False, True])
def test_a_linear_member_reads_a_batch_as_its_design(
    encoding: Encoding, encoded: list[EncodedProduct], wide: bool
) -> None:
    data = design(encoded, encoding, wide=wide)
    member = fit_linear(data, targets_of(products()), np.ones((240, 3), dtype=np.float32))

    with torch.no_grad():
        read = member(as_batch(encoded)).numpy()

    np.testing.assert_allclose(read, linear_logits(member, data), atol=1e-5)
    assert ((read > 0) == targets_of(products())).mean() > 0.98


def seen_images(n_products: int) -> NDArray[np.float16]:
    """Features of which the third tells the second class; every fifth product has no image."""
    rng = np.random.default_rng(2)
    features = rng.normal(5, 2, (n_products, 12))
    features[:, 2] += 9 * (targets_of(products())[:, 1] == 1)
    features[::5] = 0
    return features.astype(np.float16)


def test_a_linear_member_reads_the_features_of_images_where_there_are_some(
    encoding: Encoding, encoded: list[EncodedProduct]
) -> None:
    features = seen_images(len(encoded))
    have: NDArray[np.bool_] = np.asarray(features.any(axis=1))
    column = MODALITIES.index("image")
    shown = [replace(one, present=(*one.present[:column], bool(has), *one.present[column + 1 :]))
             for one, has in zip(encoded, have, strict=True)]  # fmt: skip
    data = design(shown, encoding, wide=True, image_features=features)
    targets = targets_of(products())
    ones = np.ones((240, 3), dtype=np.float32)
    member = fit_linear(data, targets, ones)
    blind = design(shown, encoding, wide=True, image_features=np.zeros_like(features))

    with torch.no_grad():
        read = member(as_batch(shown, features)).numpy()

    np.testing.assert_allclose(read, linear_logits(member, data), atol=1e-4)
    difference = linear_logits(member, data) - linear_logits(member, blind)
    assert not difference[~have].any()
    assert np.corrcoef(difference[have, 1], targets[have, 1])[0, 1] > 0.8
    again = fit_linear(data, targets, ones * 1e-6, start=member)  # with nothing to learn it stays where it was
    np.testing.assert_allclose(linear_logits(again, data), linear_logits(member, data), atol=1e-3)


def test_parts_of_a_design_add_up_to_it(encoding: Encoding, encoded: list[EncodedProduct]) -> None:
    data = design(encoded, encoding, wide=True, image_features=seen_images(len(encoded)))

    text, table, image = data.parts()

    assert (text.rows + table.rows != data.rows).nnz == 0
    assert text.rows.nnz
    assert table.rows.nnz
    assert not image.rows.nnz
    assert [part.image_features is None for part in (text, table, image)] == [True, True, False]


def test_a_linear_member_minimises_its_loss(encoding: Encoding, encoded: list[EncodedProduct]) -> None:
    """Against scikit-learn, which solves the same problem where no weights are shared."""
    from sklearn.linear_model import LogisticRegression

    from training.members.linear_fit import PENALTY

    rng = np.random.default_rng(1)
    table = tree_features(encoded, encoding.categorical.n_ids)
    data = design([product.without("text") for product in encoded], encoding, wide=True)
    targets = (rng.random((240, 1)) < 0.3).astype(np.int8)

    member = fit_linear(data, targets, np.ones((240, 1), dtype=np.float32))
    reference = LogisticRegression(C=1 / PENALTY, tol=1e-8, max_iter=2000).fit(data.rows.toarray(), targets[:, 0])

    assert table.shape[0] == 240
    np.testing.assert_allclose(
        linear_logits(member, data)[:, 0], reference.decision_function(data.rows.toarray()), atol=0.02
    )


def fitted_trees(encoding: Encoding, encoded: list[EncodedProduct]) -> tuple[FittedTrees, csr_matrix]:
    table = tree_features(encoded, encoding.categorical.n_ids)
    dense = table.toarray()
    targets = np.stack([dense[:, 0] == 1, dense[:, -2] > 0.2], axis=1).astype(np.int8)
    base = np.array([-1.0, 0.5], dtype=np.float32)
    ones = np.ones(targets.shape, dtype=np.float32)
    return fit_trees(table, targets, ones, base=base, seed=0, n_threads=2), table


def test_the_graphs_trees_are_lightgbms(encoding: Encoding, encoded: list[EncodedProduct]) -> None:
    trees, table = fitted_trees(encoding, encoded)

    with torch.no_grad():
        member = trees.member(encoding.categorical.n_ids)(as_batch(encoded)).numpy()

    np.testing.assert_allclose(member, trees.logits(table), atol=1e-5)
    assert np.ptp(member, axis=0).min() > 1  # they did learn


def test_a_product_on_a_threshold_goes_the_same_way_in_both() -> None:
    rng = np.random.default_rng(0)
    table = np.round(rng.normal(size=(400, 1)), 1).astype(np.float32)
    targets = (table > 0.3).astype(np.int8)
    trees = fit_trees(
        csr_matrix(table), targets, np.ones((400, 1), np.float32), base=np.zeros(1, np.float32), seed=0, n_threads=1
    )
    batch = {
        "numbers": torch.from_numpy(table),
        "category_ids": torch.zeros(400, 1, dtype=torch.int64),
        "present": torch.ones(400, len(MODALITIES)),
    }

    with torch.no_grad():
        member = trees.member(1)(batch).numpy()

    np.testing.assert_allclose(member, trees.logits(table), atol=1e-5)


def test_padding_changes_nothing_in_any_tower(encoding: Encoding, encoded: list[EncodedProduct]) -> None:
    torch.manual_seed(0)
    network = JointNetwork(encoding, FIELDS.modalities, n_numbers=2, n_classes=3, options=JointOptions()).eval()
    batch = collate(encoded[:8])
    padded = dict(batch)
    for name in ("token_ids", "bag_ids", "bag_values", "category_ids"):
        padded[name] = np.pad(batch[name], ((0, 0), (0, 9)))

    with torch.no_grad():
        plain, embedding = network({name: torch.from_numpy(values) for name, values in batch.items()})
        long, long_embedding = network({name: torch.from_numpy(values) for name, values in padded.items()})

    for name, values in plain.items():
        torch.testing.assert_close(values, long[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(embedding, long_embedding, atol=1e-5, rtol=1e-5)


def test_every_member_hears_its_own_loss(encoding: Encoding, encoded: list[EncodedProduct]) -> None:
    from training.joint_training import train_joint

    torch.manual_seed(0)
    options = JointOptions(epochs=4, batch_size=32, min_steps=1)
    network = JointNetwork(encoding, FIELDS.modalities, n_numbers=2, n_classes=3, options=options)
    ones = np.ones((240, 3), dtype=np.float32)

    curves = train_joint(network, encoded, targets_of(products()), ones, seed=0)

    assert len(curves) == 4
    for name in ("text_cnn", "text_rnn", "fused"):
        assert curves[-1][name] < 0.8 * curves[0][name]


@given(st.integers(0, 9_999))
@settings(max_examples=25, deadline=None)
def test_trust_is_a_weight_that_grows_with_agreement(seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.integers(-1, 2, (20, 3)).astype(np.int8)
    believed = rng.random((20, 3))

    weights = label_trust(targets, believed)

    assert (weights[targets < 0] == 0).all()
    assert ((weights[targets >= 0] > 0) & (weights[targets >= 0] <= 1)).all()
    surer = np.clip(np.where(targets == 1, believed + 0.1, believed - 0.1), 0, 1)
    assert (label_trust(targets, surer) >= weights).all()


def test_a_yes_of_a_rare_class_is_not_doubted_for_being_rare() -> None:
    targets = np.zeros((1000, 1), dtype=np.int8)
    targets[:10] = 1

    weights = label_trust(targets, np.full((1000, 1), 10.5 / 1001))  # models that know the prior and no more

    np.testing.assert_allclose(weights[:10], 0.5, rtol=1e-6)
    np.testing.assert_allclose(weights[10:], 0.99, atol=1e-3)


def test_class_weights_follow_the_square_root_of_the_imbalance_within_limits() -> None:
    targets = np.zeros((1000, 4), dtype=np.int8)
    targets[:40, 0] = 1  # 960 to 40
    targets[:900, 1] = 1
    targets[:1, 2] = 1
    targets[:20, 3], targets[200:, 3] = 1, -1  # 180 to 20 among the known

    np.testing.assert_allclose(class_weights(targets), [math.sqrt(24), 1, 10, 3], rtol=1e-6)


def test_priors_count_only_what_is_known_and_few_positives_are_not_learned() -> None:
    targets = np.full((100, 3), -1, dtype=np.int8)
    targets[:10, 0], targets[10:40, 0] = 1, 0
    targets[:4, 1], targets[4:, 1] = 1, 0

    np.testing.assert_allclose(priors(targets), [10.5 / 41, 4.5 / 101, 0.5])
    assert trainable_classes(targets).tolist() == [True, False, False]


def test_a_class_whose_labels_tell_no_rate_is_taken_to_be_as_frequent_as_the_others() -> None:
    targets = np.full((100, 5), -1, dtype=np.int8)
    targets[:10, 0], targets[10:40, 0] = 1, 0
    targets[:29, 1], targets[29:100, 1] = 1, 0
    targets[:40, 2] = 1  # nothing but yes
    targets[:4, 3], targets[4:, 3] = 1, 0  # rare, and known to be

    mean = (10.5 / 41 + 29.5 / 101) / 2
    np.testing.assert_allclose(served_priors(targets), [10.5 / 41, 29.5 / 101, mean, 4.5 / 101, mean])


@pytest.mark.parametrize("n_steps", [1, 2, 3, 4, 5, 6, 10])
def test_a_network_can_be_trained_in_any_number_of_steps(
    encoding: Encoding, encoded: list[EncodedProduct], n_steps: int
) -> None:
    from training.joint_training import train_joint

    options = JointOptions(epochs=1, batch_size=8, min_steps=1)
    network = JointNetwork(encoding, FIELDS.modalities, n_numbers=2, n_classes=3, options=options)
    before = network.heads["fused"].get_parameter("weight").detach().clone()
    some, targets = encoded[: 8 * n_steps], targets_of(products())[: 8 * n_steps]

    curves = train_joint(network, some, targets, np.ones(targets.shape, dtype=np.float32), seed=0)

    assert math.isfinite(curves[0]["fused"])
    assert not torch.equal(network.heads["fused"].get_parameter("weight"), before)


def test_the_asymmetric_loss_is_cross_entropy_for_a_yes_and_falls_off_for_an_easy_no() -> None:
    from training.joint_training import MARGIN, asymmetric_loss

    logits = torch.tensor([-6.0, -2.0, 0.0, 2.0])
    yes, no = asymmetric_loss(logits, torch.ones(4)), asymmetric_loss(logits, torch.zeros(4))

    plain = torch.nn.functional.softplus
    torch.testing.assert_close(yes, plain(-logits))
    assert torch.sigmoid(logits[0]) < MARGIN
    assert no[0] == 0.0
    assert torch.all(no[1:] > 0)
    assert torch.all(no < plain(logits))
    assert no[1] / plain(logits[1]) < 0.01 < no[3] / plain(logits[3])


@pytest.mark.parametrize("loss", ["weighted", "plain", "asymmetric"])
def test_every_loss_teaches_the_network(encoding: Encoding, encoded: list[EncodedProduct], loss: str) -> None:
    from training.joint_training import predict_joint, train_joint

    torch.manual_seed(0)
    options = JointOptions(epochs=6, batch_size=32, min_steps=1, loss=loss)  # type: ignore[arg-type]
    network = JointNetwork(encoding, FIELDS.modalities, n_numbers=2, n_classes=3, options=options)
    targets = targets_of(products())

    train_joint(network, encoded, targets, np.ones(targets.shape, dtype=np.float32), seed=0)

    logits = predict_joint(network, encoded)["fused"]
    assert (logits.argmax(axis=1) == targets.argmax(axis=1)).mean() > 0.9
