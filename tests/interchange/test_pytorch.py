"""to_torch and from_torch beside PyTorch itself; needs torch, which the suite is run without."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

import fallline as fl
from fallline.core.errors import ConfigError
from fallline.core.tree import leaves
from fallline.data.target import NumberTarget
from fallline.interchange.counterparts import COUNTERPARTS
from tests.interchange import tables
from tests.interchange.test_counterparts import deep, filled
from tests.tolerance import assert_close

torch = pytest.importorskip("torch")
nn = torch.nn


def answers(module, x):
    given = tuple(map(torch.from_numpy, x)) if isinstance(x, tuple) else torch.from_numpy(np.asarray(x))
    with torch.no_grad():
        return module(given).numpy()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_row_108_to_torch_and_back_predictions_are_equal(precision, rng):
    x = rng.normal(size=(120, 6))
    network = fl.Sequential(fl.Dense(16), fl.BatchNorm(), fl.GELU(), fl.Dropout(0.2), fl.Dense(3))
    fit = fl.fit(network, (x, rng.integers(0, 3, 120)), epochs=5, precision=precision)
    module = fl.to_torch(fit)
    assert not module.training
    rows = x.astype(precision)
    assert_close(answers(module, rows), fit.model.scores(x), "library")
    assert_close(answers(fl.to_torch(fit, link=True), rows), fit.model.predict_proba(x), "library")
    back = fl.from_torch(module)
    assert repr(back) == repr(fit.model.network)
    for path, leaf in leaves(fit.model.network).items():
        assert_close(leaves(back)[path], leaf, "exact")


def test_row_108_the_network_of_pytorchs_tutorial_in_five_lines(rng):
    X, y = rng.uniform(size=(64, 28, 28)), rng.integers(0, 10, 64)
    net = fl.Sequential(fl.Flatten(), fl.Dense(512), fl.ReLU(), fl.Dense(512), fl.ReLU(), fl.Dense(10))
    fit = fl.fit(net, (X, y), optimizer="sgd", learning_rate=1e-3, epochs=1)
    module = fl.to_torch(fit, link=True)
    assert sum(p.numel() for p in module.parameters()) == 669_706  # as the tutorial's NeuralNetwork has
    assert_close(answers(module, X.astype(np.float32)), fit.model.predict_proba(X), "library")


@pytest.mark.parametrize("name", tables.KINDS)
def test_every_kind_of_model(name):
    """A bag of different members, with temperature and ordered outputs, without its link and with it."""
    case = tables.kind(name)
    model = case.model
    module = fl.to_torch(model)
    scores = model.scores(case.rows)
    assert_close(answers(module, case.rows).reshape(scores.shape), scores, "library")
    assert repr(fl.from_torch(module)) == repr(model.network)
    meant = np.asarray(model.loss.predict(scores.astype(np.float64)))
    found = answers(fl.to_torch(model, link=True), case.rows)
    if not model.classes:
        found = (found - model.target.mean) / model.target.scale
    assert_close(found.reshape(meant.shape), meant, "library")


@pytest.mark.parametrize("norm", [1, 2])
def test_a_bag_with_a_more_exact_member(norm, rng):
    """A kernel member has float64 arrays beside float32 ones: its weights of both signs nearly cancel."""
    x = rng.normal(size=(30, 4)).astype(np.float32)
    near = fl.Sequential(fl.LaplaceBasis(30, norm=norm), fl.Dense(2)).build(x.astype(np.float64), 0)
    wavy = fl.Sequential(fl.PeriodicEncoding(3, columns=(1, 3)), fl.PiecewiseEncoding(4), fl.Dense(2)).build(x, 0)
    for members in ((near, wavy), (wavy, near)):
        network = fl.Ensemble(*members, mix=fl.Mixture("softmax", shares=np.array([0.25, 0.75], np.float32)))
        module = fl.to_torch(network)
        assert_close(answers(module, x), network(x), "library")
        assert repr(fl.from_torch(module)) == repr(network)


@pytest.mark.parametrize("name", tables.NAMES)
def test_a_packaged_table_with_missing_and_unseen_cells(name):
    case = tables.case(name)
    encoded, meant = case.model.inputs(case.rows), case.model.scores(case.rows)
    assert isinstance(encoded, tuple)
    assert_close(answers(fl.to_torch(case.model), encoded).reshape(meant.shape), meant, "library")
    if case.model.classes:
        linked = answers(fl.to_torch(case.model, link=True), encoded)
        assert_close(linked[:, -1], case.model.predict_proba(case.rows)[:, -1], "library")


@pytest.mark.parametrize("pair", COUNTERPARTS, ids=lambda pair: pair.module)
def test_every_counterpart_beside_torch(pair, rng):
    recipe, x = pair.layer.sample(rng)
    layer = filled(recipe, x, rng)
    module = fl.to_torch(layer)
    assert type(module).__name__ == pair.module
    assert_close(answers(module, x), np.asarray(layer(x)), "library")
    assert repr(fl.from_torch(module)) == repr(layer)


def test_the_state_dict_is_torch_state_and_the_weights_are_copies(rng):
    network, x = deep(rng)
    module = fl.to_torch(network)
    state = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    assert list(state) == list(fl.torch_state(network))
    for name, array in fl.torch_state(network).items():
        assert_close(state[name], array, "exact")
    before = network(x)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert_close(network(x), before, "exact")


def test_a_made_module_trains_and_its_statistics_move_as_ours_do(rng):
    """One step of gradient descent on one batch: parameters, running mean and running variance."""
    x, t = rng.normal(size=(16, 5)), rng.normal(size=16)
    network = fl.Sequential(fl.Dense(4), fl.BatchNorm(momentum=0.3), fl.Tanh(), fl.Dense(1)).build(x, 0)
    module = fl.to_torch(network).train()
    torch_loss = ((module(torch.from_numpy(x))[:, 0] - torch.from_numpy(t)) ** 2).mean()
    torch_loss.backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.1 * parameter.grad
    ours = fl.fit(network, (x, t), optimizer=fl.SGD(0.1), epochs=1, batch_size="full", shuffle=False,
                  precision="float64")  # fmt: skip
    for path, leaf in leaves(fl.from_torch(module)).items():
        assert_close(leaves(ours.model.network)[path], leaf, "step")


def test_a_torch_network_goes_on_training_here(rng):
    module = nn.Sequential(nn.Linear(3, 8), nn.LeakyReLU(0.2), nn.BatchNorm1d(8, momentum=0.2), nn.Linear(8, 1))
    with torch.no_grad():
        module(torch.randn(50, 3))  # moves the running statistics
    network = fl.from_torch(module)
    x = rng.normal(size=(90, 3)).astype(np.float32)
    assert_close(answers(module.eval(), x), network(x), "library")
    assert network.layers[2].momentum == 0.2
    fit = fl.fit(network, (x, x[:, 0] > 0), epochs=10, optimizer=fl.Adam(0.02))
    assert fit.history["train_loss"][-1] < fit.history["train_loss"][0]


def test_link_gives_numbers_in_their_own_unit_and_counts(rng):
    x = rng.normal(size=(60, 2))
    counts = fl.fit(fl.mlp(hidden=()), (x, rng.poisson(3.0, 60)), loss="poisson", epochs=1).model
    assert_close(answers(fl.to_torch(counts, link=True), x.astype("f4"))[:, 0], counts.predict(x), "library32")
    fitted = fl.fit(fl.mlp(hidden=()), (x, x[:, 0]), epochs=1, precision="float64").model
    scaled = replace(fitted, target=NumberTarget("t", mean=1000.0, scale=50.0))  # as a table's target is
    assert_close(answers(fl.to_torch(scaled, link=True), x)[:, 0], scaled.predict(x), "library")


def test_link_needs_a_model_whose_loss_has_one(rng):
    network, _ = deep(rng)
    with pytest.raises(ConfigError, match="link=True needs a trained model, given Sequential"):
        fl.to_torch(network, link=True)
    x = rng.normal(size=(30, 2))
    fit = fl.fit(fl.mlp(hidden=(), n_outputs=2), (x, x[:, 0]), loss="gaussian_nll", epochs=1)
    own = replace(fit.model, loss=Own())
    with pytest.raises(ConfigError, match=r"^Own makes its predictions in a way of its own: leave link=True out"):
        fl.to_torch(own, link=True)


class Own(fl.SquaredError):
    """A loss with a link of its own."""

    def predict(self, score):
        return 2.0 * score


class Net(nn.Module):
    """A module of the user's own."""


class Named(nn.Sequential):
    """A subclass with the forward of its parent."""


def test_a_subclass_with_its_parents_forward_is_read():
    network = fl.from_torch(Named(nn.Linear(2, 3), nn.ReLU()))
    assert isinstance(network, fl.Sequential)


@pytest.mark.parametrize(
    "make, message",
    [
        (Net, r"^no layer computes what Net does: from_torch reads nn\.Sequential of Linear, BatchNorm1d, "),
        (lambda: nn.Sequential(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))), r"^module 0\.1: no layer .* BatchNorm2d"),
        (nn.ReLU6, r"^Hardtanh\(min_val=0\.0, max_val=6\.0\) has no counterpart"),
        (lambda: nn.Linear(2, 3).half(), r"^Linear\.weight is float16: give module\.float\(\)"),
        (lambda: nn.Sequential(nn.LazyLinear(3)), r"^module 0: Linear\.weight has no numbers yet"),
        (lambda: nn.Embedding(4, 3, padding_idx=0), r"Embedding is padding_idx=None"),
        (lambda: nn.BatchNorm1d(3, momentum=None), "momentum must be a float"),
        (lambda: 3, r"^from_torch reads a torch\.nn\.Module, given int"),
    ],
)
def test_what_no_layer_computes_is_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        fl.from_torch(make())


def test_a_made_module_can_be_saved_and_loaded_whole(rng):
    network, x = deep(rng)
    module, file = fl.to_torch(network), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    assert_close(answers(torch.load(file, weights_only=False), x), network(x), "library")
