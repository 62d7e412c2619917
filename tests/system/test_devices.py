from __future__ import annotations

import os

import pytest
import torch
from torch import nn

from optrun.experiments.errors import UsageError
from optrun.experiments.system.devices import choose_device, choose_threads, count_work


@pytest.fixture
def machine(monkeypatch):
    """Return a function that pretends there are so many devices."""

    def pretend(num_cuda=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return pretend


@pytest.mark.parametrize("soft_placement", [True, False])
@pytest.mark.parametrize(
    ("name", "num_cuda", "mps", "device"),
    [
        ("auto", 0, False, "cpu"),
        ("auto", 1, False, "cuda:0"),
        ("auto", 4, True, "cuda:0"),
        ("auto", 0, True, "mps"),
        ("cpu", 0, False, "cpu"),
        ("cpu", 4, True, "cpu"),
        ("cuda", 1, False, "cuda:0"),
        ("cuda:0", 1, False, "cuda:0"),
        ("cuda:1", 2, False, "cuda:1"),
        ("cuda:15", 16, False, "cuda:15"),
        ("mps", 0, True, "mps"),
    ],
)
def test_a_device_that_is_there(machine, name, num_cuda, mps, device, soft_placement):
    machine(num_cuda, mps)
    assert choose_device(name, soft_placement) == (torch.device(device), None)


@pytest.mark.parametrize(
    ("name", "num_cuda", "reason"),
    [
        ("cuda", 0, "no CUDA devices here"),
        ("cuda:0", 0, "no CUDA devices here"),
        ("cuda:1", 1, "1 CUDA device here"),
        ("cuda:2", 2, "2 CUDA devices here"),
        ("cuda:300", 64, "64 CUDA devices here"),  # torch takes it for cuda:44
        ("mps", 8, "no Metal device here"),
    ],
)
def test_a_device_that_is_missing_is_replaced_only_if_that_is_allowed(machine, name, num_cuda, reason):
    machine(num_cuda)
    device, note = choose_device(name, soft_placement=True)
    assert device == torch.device("cpu")
    assert note == f"{name} is not available ({reason}): model, data and optimizer are on cpu instead"
    with pytest.raises(UsageError, match=rf"^{name} is not available \({reason}\); set train.soft_placement=true"):
        choose_device(name, soft_placement=False)


@pytest.mark.parametrize(
    "name", ["", "gpu", "CUDA", "Auto", "cuda:", "cuda:-1", "cuda:x", "cuda:1:2", "cuda:٣", "cuda:9999", "cuda:0 ",
             "cpu:0", "cpu:3", "mps:0", "meta", "xpu", "hip", "cuda:0\n"]
)  # fmt: skip
@pytest.mark.parametrize("soft_placement", [True, False])
def test_what_is_no_device_is_refused_even_where_devices_may_be_replaced(machine, name, soft_placement):
    machine(num_cuda=8, mps=True)
    with pytest.raises(UsageError, match=f"^no device '{name}': use auto, cpu, cuda, cuda:N or mps$"):
        choose_device(name, soft_placement)


@pytest.mark.parametrize(
    ("work", "num_cpus", "threads"),
    [
        (0, 8, 1),
        (3_000_000, 8, 1),
        (2_000_000_000, 8, 1),
        (3_999_999_999, 8, 1),
        (4_000_000_000, 8, 2),
        (10**12, 8, 8),
        (10**12, 1, 1),
        (10**12, None, 1),  # where Python cannot tell
    ],
)
def test_threads_follow_a_rule_from_the_work_per_step(monkeypatch, work, num_cpus, threads):
    monkeypatch.setattr(os, "cpu_count", lambda: num_cpus)
    assert choose_threads("auto", work) == threads


def test_threads_by_number_and_by_variable(monkeypatch):
    assert choose_threads(5, 0) == 5
    monkeypatch.setenv("OPTRUN_THREADS", "3")
    assert choose_threads("auto", 0) == 3
    assert choose_threads(5, 0) == 5, "what the configuration says goes first"
    monkeypatch.setenv("OPTRUN_THREADS", "")
    assert choose_threads("auto", 0) == 1


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", " 2", "²", "٣", "1e3", "99999", "2\n"])
def test_a_variable_that_is_no_number_of_threads_is_refused(monkeypatch, value):
    monkeypatch.setenv("OPTRUN_THREADS", value)
    with pytest.raises(UsageError, match=f"^OPTRUN_THREADS={value}: expected a number of threads, at least 1$"):
        choose_threads("auto", 0)


@pytest.mark.parametrize("wanted", [0, -1])
def test_less_than_one_thread_is_refused(wanted):
    with pytest.raises(UsageError, match=f"expected at least 1 thread, got {wanted}"):
        choose_threads(wanted, 0)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Linear(7, 5), (4, 7)),
        (nn.Linear(7, 5), (4, 3, 7)),
        (nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.Linear(5, 2, bias=False)), (4, 7)),
        (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 9)),
        (nn.Conv2d(4, 6, 3, stride=2, groups=2), (2, 4, 9, 9)),
        (nn.Conv1d(3, 5, 4, dilation=2), (2, 3, 20)),
    ],
)
def test_the_work_of_a_step_is_three_times_what_torch_counts_for_the_forward_pass(model, shape):
    from torch.utils.flop_counter import FlopCounterMode

    inputs = torch.zeros(shape)
    with FlopCounterMode(display=False) as counter:
        model(inputs)
    multiply_adds = counter.get_total_flops() // 2
    assert multiply_adds > 0
    assert count_work(model, lambda: model(inputs), len(inputs), batch_size=10 * len(inputs)) == 3 * 10 * multiply_adds


def test_counting_leaves_nothing_behind_even_when_the_model_fails():
    model = nn.Linear(7, 5)
    with pytest.raises(RuntimeError, match="shapes"):
        count_work(model, lambda: model(torch.zeros(1, 6)), 1, 1)
    assert not model._forward_hooks
    count_work(model, lambda: model(torch.zeros(1, 7)), 1, 1)
    assert not model._forward_hooks


def test_a_model_without_weights_is_no_work():
    model = nn.Flatten()
    assert count_work(model, lambda: model(torch.zeros(0, 3)), 0, 64) == 0
