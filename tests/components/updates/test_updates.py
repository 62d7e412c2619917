"""Extra updates against closed forms, torch's own batch norm, and figures computed by TensorFlow."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from optrun.experiments.components.data import PartInMemory
from optrun.experiments.components.updates import make_update
from optrun.experiments.errors import UsageError

from ...helpers import linear_problem, small_train_op


def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 1))


# ---- batch norm ------------------------------------------------------------------------------------------------------


def test_torch_rule_as_an_update_gives_torchs_statistics_and_weights():
    model = net()
    reference = copy.deepcopy(model)
    plain, grouped = small_train_op(reference), small_train_op(model, updates=["batch_norm"])
    for _ in range(9):
        plain.run()
        grouped.run()
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(grouped.model.state_dict()[name], value, rtol=1e-6, atol=1e-7, msg=name)


def test_statistics_move_with_the_train_op_not_with_the_forward_pass():
    op = small_train_op(net(), updates=["tf_batch_norm"])
    op.model(torch.randn(8, 4))
    assert torch.equal(op.model[1].running_mean, torch.zeros(6))
    for update in op.updates:
        update.discard()
    op.run()
    assert not torch.equal(op.model[1].running_mean, torch.zeros(6))
    assert int(op.model[1].num_batches_tracked) == 1


def test_tf_rule_is_a_debiased_average_of_biased_statistics():
    op = small_train_op(net(), updates=[lambda model: make_update("tf_batch_norm", model, decay=0.9)], lr=1e-12)
    layer = op.model[1]
    means, variances = [], []
    for position in range(5):
        inputs, _ = op.data.batch(position)
        with torch.no_grad():
            hidden = op.model[0](inputs).double()
        means.append(hidden.mean(0))
        variances.append(hidden.var(0, correction=0))
        op.run()
        # mean_t = sum_i d^(t-i) (1-d) x_i / (1 - d^t)
        factors = [0.9 ** (position - i) * 0.1 / (1 - 0.9 ** (position + 1)) for i in range(position + 1)]
        for running, values in ((layer.running_mean, means), (layer.running_var, variances)):
            expected = sum(factor * value for factor, value in zip(factors, values, strict=True))
            torch.testing.assert_close(running.double(), expected, rtol=1e-5, atol=1e-6)
    assert layer.eps == 0.001


@pytest.mark.parametrize("name", ["batch_norm", "tf_batch_norm"])
def test_accumulated_statistics_are_those_of_the_whole_batch(name):
    whole = small_train_op(net(), updates=[name], lr=1e-12)
    parts = small_train_op(net(), updates=[name], lr=1e-12, accumulate=3)  # micro-batches of 6, 6 and 4
    for _ in range(4):
        whole.run()
        parts.run()
    for buffer in ("running_mean", "running_var", "num_batches_tracked"):
        found, expected = getattr(parts.model[1], buffer), getattr(whole.model[1], buffer)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_replaced_layers_compute_the_same_function():
    model = net()
    reference = copy.deepcopy(model)
    make_update("batch_norm", model)
    inputs = torch.randn(7, 4)
    for mode in (False, True):  # in this order: training moves the statistics of the reference
        model.train(mode)
        reference.train(mode)
        torch.testing.assert_close(model(inputs), reference(inputs))


def test_a_model_without_batch_norm_is_refused():
    with pytest.raises(UsageError, match="no batch norm layer"):
        make_update("batch_norm", nn.Linear(4, 1))


def test_unknown_update_names_the_nearest():
    with pytest.raises(UsageError, match="Did you mean 'batch_norm'"):
        make_update("batchnorm", net())


# ---- averages --------------------------------------------------------------------------------------------------------


def averages(values, **args):
    """Return the shadow after each of `values` of a single weight, which starts at 0."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    ema = make_update("ema", model, **args)
    shadows = []
    with torch.no_grad():
        for value in values:
            model.weight.fill_(value)
            ema.apply()
            shadows.append(ema.shadows["weight"].item())
    return shadows


def test_ema_closed_form():
    # A weight that is 1 from the first step on: shadow_t = 1 - d^t.
    assert averages([1.0] * 6, decay=0.8) == pytest.approx([1 - 0.8**t for t in range(1, 7)], rel=1e-6)


def test_ema_with_num_updates_is_tensorflows():
    # tf.train.ExponentialMovingAverage(0.999, num_updates=n), weight 0 -> 1 at n = 0, 1, 2, 3. Here the first update
    # is n = 1, as when num_updates is the global step that the optimizer has just advanced: what n = 0 left is
    # divided out.
    measured = [0.9, 0.98182, 0.99545, 0.99860]
    expected = [1 - (1 - value) / (1 - measured[0]) for value in measured[1:]]
    found = averages([1.0] * 3, decay=0.999, num_updates=True)
    assert found == pytest.approx(expected, abs=6e-5)
    assert found[0] == pytest.approx(1 - 2 / 11)


def test_ema_starts_at_the_weights():
    model = nn.Linear(3, 2)
    ema = make_update("ema", model)
    assert torch.equal(ema.shadows["weight"], model.weight)
    assert ema.shadows["weight"].data_ptr() != model.weight.data_ptr()


def test_swapped_lends_the_averages_and_gives_the_weights_back_even_after_an_error():
    op = small_train_op(updates=[lambda model: make_update("ema", model, decay=0.5)])
    for _ in range(3):
        op.run()
    (ema,) = op.updates
    own = op.model.weight.detach().clone()
    with pytest.raises(ZeroDivisionError), ema.swapped():
        assert torch.equal(op.model.weight, ema.shadows["weight"])
        _ = 1 / 0
    assert torch.equal(op.model.weight, own)


def test_frozen_parameters_are_not_averaged():
    model = nn.Linear(4, 1)
    model.bias.requires_grad_(False)
    assert list(make_update("ema", model).shadows) == ["weight"]


def test_evaluation_reads_the_weights_it_is_told_to():
    from optrun.experiments.training.evaluator import Evaluator

    op = small_train_op(updates=[lambda model: make_update("ema", model, decay=0.9)])
    for _ in range(5):
        op.run()
    inputs, targets = linear_problem()
    raw = Evaluator("val", op.model, op.loss, {}, PartInMemory(inputs, targets))()
    averaged = Evaluator("val", op.model, op.loss, {}, PartInMemory(inputs, targets), ema=op.updates[0])()
    shadows = op.updates[0].shadows
    by_hand = nn.functional.mse_loss(nn.functional.linear(inputs, shadows["weight"], shadows["bias"]), targets)
    assert averaged["val/loss"] == pytest.approx(by_hand.item(), rel=1e-6)
    assert raw["val/loss"] != pytest.approx(averaged["val/loss"], rel=1e-3)
