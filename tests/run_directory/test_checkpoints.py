import hashlib
import json
import os
import random
import shutil
import subprocess
import sys

import pytest
import safetensors
import torch

from optrun.experiments.errors import CheckpointError, DivergedError, StorageError, UsageError
from optrun.experiments.run_directory import checkpoint_format, checkpoints
from optrun.experiments.run_directory.checkpoint_files import checkpoint_name, list_checkpoints, parse_checkpoint_name
from optrun.experiments.run_directory.checkpoints import BY_HAND, load, load_latest, prune, save, snapshot
from optrun.experiments.system import storage

FACTS = {"position": {"epoch": 1, "batch": 17}, "metrics": {"offset": 123, "sha256": "ab"}, "lr": 0.1, "name": "é ∞"}


def same(left, right):
    """Bit for bit: dtype, shape and bytes."""
    return (left.dtype, left.shape) == (right.dtype, right.shape) and bits(left) == bits(right)


def bits(tensor):
    return bytes(tensor.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).tolist())


def state(seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(7, 5, generator=generator)
    return {
        "model/0.weight": weight,
        "model/0.bias": torch.randn(5, generator=generator),
        "optimizer/0.weight/momentum": torch.randn(7, 5, generator=generator),
        "updates/bn/count": torch.tensor(3 + seed),
        "rng/state": torch.randint(0, 256, (64,), dtype=torch.uint8, generator=generator),
    }


def write_as(path, step, content):
    """Write bytes under the name that fits them, as an attacker would."""
    file = path / checkpoint_name(step, hashlib.sha256(content).hexdigest())
    file.write_bytes(content)
    return file


@pytest.fixture
def file(tmp_path):
    return save(tmp_path, 300, state(), FACTS)


def test_what_is_saved_comes_back_bit_for_bit(file):
    tensors, facts = load(file)
    assert list(facts) == list(FACTS)
    assert facts == FACTS
    assert tensors.keys() == state().keys()
    assert all(same(tensors[name], tensor) for name, tensor in state().items())


def test_the_name_has_the_step_and_the_hash_of_the_file(file):
    digest = hashlib.sha256(file.path.read_bytes()).hexdigest()
    assert file.path.name == f"step-00000300-{digest}.safetensors"
    assert (file.step, file.sha256) == (300, digest)
    assert list_checkpoints(file.path.parent) == [file]


def test_the_file_is_plain_safetensors_with_one_metadata_key(file):
    with safetensors.safe_open(file.path, "pt") as reader:
        assert list(reader.metadata()) == ["optrun"]
        assert json.loads(reader.metadata()["optrun"])["format"] == 1
        for name, tensor in state().items():
            assert same(reader.get_tensor(name), tensor)


def test_the_same_state_gives_the_same_bytes(tmp_path, file):
    again = save(tmp_path / "b", 300, dict(reversed(state().items())), FACTS)
    assert again.sha256 == file.sha256


@pytest.mark.parametrize("dtype", list(checkpoint_format.TYPES), ids=str)
def test_every_dtype_and_shape_survives(tmp_path, dtype):
    generator = torch.Generator().manual_seed(1)
    width = torch.empty((), dtype=dtype).element_size()
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (6, 4 * width), dtype=torch.uint8, generator=generator)
    matrix = raw.view(dtype)  # any bit pattern, NaN and denormals among them
    tensors = {
        "a/matrix": matrix,
        "a/scalar": matrix[0, 0],
        "a/empty": matrix[:0],
        "a/no shape": matrix[:, :0],
        "a/transposed": matrix.t(),
        "a/slice": matrix[1::2, ::3],
        "a/expanded": matrix[:1].expand(3, 4),
    }
    loaded, _ = load(save(tmp_path, 1, tensors, {}))
    assert loaded.keys() == tensors.keys()
    assert all(same(loaded[name], tensor) for name, tensor in tensors.items())


def test_parameters_and_lazy_views_are_saved_by_value(tmp_path):
    value = torch.tensor([1 + 2j, 3 - 1j], dtype=torch.complex64)
    tensors = {
        "a/p": torch.nn.Parameter(torch.ones(2)),
        "a/v": value,
        "a/conj": value.conj(),
        "a/neg": value.conj().imag,
    }
    loaded, _ = load(save(tmp_path, 1, tensors, {}))
    assert not loaded["a/p"].requires_grad
    assert torch.equal(loaded["a/conj"], torch.tensor([1 - 2j, 3 + 1j]))
    assert torch.equal(loaded["a/neg"], torch.tensor([-2.0, 1.0]))


def test_tied_tensors_are_stored_once_and_come_back_tied(tmp_path):
    weight = torch.randn(100, 10)
    tensors = {"model/embed": weight, "model/head": weight.detach(), "model/t": weight.t(), "updates/x": weight}
    alone = save(tmp_path / "alone", 1, {"model/embed": weight, "model/t": weight.t()}, {})
    tied = save(tmp_path / "tied", 1, tensors, {})
    assert abs(tied.path.stat().st_size - alone.path.stat().st_size) < 500
    loaded, _ = load(tied)
    assert loaded["model/embed"] is loaded["model/head"] is loaded["updates/x"]
    assert loaded["model/t"] is not loaded["model/embed"]
    assert all(same(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_square_tensor_is_not_tied_to_its_transpose(tmp_path):
    square = torch.arange(4.0).reshape(2, 2)
    loaded, _ = load(save(tmp_path, 1, {"a/x": square, "a/t": square.t()}, {}))
    assert same(loaded["a/t"], square.t())


def test_empty_tensors_are_not_tied(tmp_path):
    loaded, _ = load(save(tmp_path, 1, {"a/x": torch.empty(0), "a/y": torch.empty(0)}, {}))
    assert loaded["a/x"] is not loaded["a/y"]


def test_loaded_tensors_can_be_written_to_without_a_trace_in_each_other(file):
    tensors, _ = load(file)
    tensors["model/0.weight"].zero_()
    assert same(tensors["model/0.bias"], state()["model/0.bias"])
    assert same(load(file)[0]["model/0.weight"], state()["model/0.weight"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.ones(1)}, "must be `section/name`"),
        ({"model/": torch.ones(1)}, "must be `section/name`"),
        ({"model/\n": torch.ones(1)}, "printable"),
        ({"model/w": [1.0]}, "is a list, not a tensor"),
        ({"model/w": torch.eye(2).to_sparse()}, r"sparse.*\.to_dense"),
        ({"model/w": torch.empty(2, device="meta")}, "without data"),
        ({"model/w": torch.ones(2, dtype=torch.complex128)}, "no type for torch.complex128"),
    ],
)
def test_what_cannot_be_stored_is_refused_by_name(tmp_path, tensors, message):
    with pytest.raises(UsageError, match=message):
        save(tmp_path, 1, tensors, {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("facts", [{"best": float("inf")}, {"seen": {1}}, {("a",): 1}])
def test_facts_that_are_not_json_are_refused(tmp_path, facts):
    with pytest.raises(UsageError, match="facts of a checkpoint must be JSON"):
        save(tmp_path, 1, {}, facts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2, torch.complex64], ids=str)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_state_that_must_be_finite_and_is_not_is_no_snapshot(dtype, bad):
    broken = torch.ones(4)
    broken[2] = bad
    tensors = {"model/a": torch.ones(2), "optimizer/b": broken.to(dtype), "optimizer/c": broken}
    with pytest.raises(DivergedError, match=r"step 7: optimizer/b has 1 of 4 values"):
        snapshot(7, tensors, {})
    snapshot(7, tensors, {}, may_be_infinite=["optimizer/b", "optimizer/c"])
    snapshot(8, {"hooks/best": broken, "model/n": torch.tensor([1])}, {})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_numbers_that_are_finite_may_have_an_infinite_sum(dtype):
    largest = torch.full((4,), torch.finfo(dtype).max, dtype=dtype)
    assert torch.isinf(largest.sum())
    snapshot(1, {"model/w": largest}, {})


def test_a_snapshot_is_saved_as_the_state_was_whatever_becomes_of_it(tmp_path):
    weight, facts = torch.randn(6, 4), {"hooks": {"kept": [1, 2]}}
    state = {
        "model/w": weight,
        "model/tied": weight,
        "model/transposed": weight.t(),
        "model/part": weight[:, 1],
        "model/expanded": torch.ones(1).expand(3),
        "hooks/conj": torch.tensor([1 + 2j, 3j]).conj(),
        "hooks/empty": torch.empty(0, 3),
        "optimizer/step": torch.tensor(3.0),
    }
    then = save(tmp_path / "then", 5, state, facts)
    taken = snapshot(5, state, facts)
    weight.zero_()
    facts["hooks"]["kept"].append(3)
    assert save(tmp_path / "later", 5, *taken).path.name == then.path.name  # so is every byte of it
    assert save(tmp_path / "now", 5, state, facts).path.name != then.path.name


def test_bit_flips_are_never_loaded_in_silence(file):
    seed = int(os.environ.get("OPTRUN_TEST_SEED", random.randrange(1 << 30)))
    print(f"replay: OPTRUN_TEST_SEED={seed} pytest tests/test_checkpoints.py -k bit_flips_are")  # noqa: T201
    numbers, content = random.Random(seed), file.path.read_bytes()
    for _ in range(200):
        damaged = bytearray(content)
        damaged[numbers.randrange(len(content))] ^= 1 << numbers.randrange(8)
        file.path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"is damaged \((section|the header)") as caught:
            load(file)
        assert str(file.path) in str(caught.value)
    file.path.write_bytes(content)
    load(file)


@pytest.mark.slow
def test_every_single_bit_flip_is_refused(file):
    content = file.path.read_bytes()
    for position in range(len(content) * 8):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        file.path.write_bytes(damaged)
        with pytest.raises(CheckpointError):
            load(file)


def test_truncations_and_extensions_are_refused(file):
    content = file.path.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        file.path.write_bytes(content[:length])
        with pytest.raises(CheckpointError, match="is damaged"):
            load(file)
    file.path.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="is damaged"):
        load(file)


def test_zeroed_pages_are_refused(tmp_path):
    file = save(tmp_path, 1, {"model/w": torch.randn(100, 100), "optimizer/m": torch.randn(100, 100)}, FACTS)
    content = file.path.read_bytes()
    for begin in range(0, len(content), 4096):
        page = content[begin : begin + 4096]
        file.path.write_bytes(content[:begin] + bytes(len(page)) + content[begin + 4096 :])
        with pytest.raises(CheckpointError, match="is damaged"):
            load(file)


def test_the_damaged_section_is_named(tmp_path):
    tensors = {
        name: torch.full((50,), value) for name, value in (("model/w", 1.0), ("optimizer/m", 2.0), ("hooks/h", 3.0))
    }
    file = save(tmp_path, 1, tensors, {"marker": "m4rk3r"})
    content = file.path.read_bytes()
    for section, found in (
        ("model", tensors["model/w"]),
        ("optimizer", tensors["optimizer/m"]),
        ("hooks", tensors["hooks/h"]),
    ):
        damaged = bytearray(content)
        damaged[content.index(bits(found)) + 9] ^= 1
        file.path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=rf"\(section {section}\)"):
            load(file)
    file.path.write_bytes(content.replace(b"m4rk3r", b"m4rk4r"))
    with pytest.raises(CheckpointError, match=r"\(section facts\)"):
        load(file)


def test_a_section_of_another_checkpoint_is_refused_even_under_a_fitting_name(tmp_path):
    content = save(tmp_path, 1, state(0), FACTS).path.read_bytes()
    other = state(1)["optimizer/0.weight/momentum"]
    swapped = content.replace(bits(state(0)["optimizer/0.weight/momentum"]), bits(other))
    assert swapped != content
    with pytest.raises(CheckpointError, match=r"\(section optimizer\): its tensors do not match"):
        load(write_as(tmp_path, 1, swapped))


def test_two_tensors_with_each_others_names_are_refused(tmp_path):
    content = save(tmp_path, 1, {"model/a": torch.zeros(2), "model/b": torch.ones(2)}, {}).path.read_bytes()
    swapped = (
        content.replace(b'"model/a"', b'"model/x"')
        .replace(b'"model/b"', b'"model/a"')
        .replace(b'"model/x"', b'"model/b"')
    )
    with pytest.raises(CheckpointError, match=r"\(section model\)"):
        load(write_as(tmp_path, 1, swapped))


def test_a_renamed_tensor_is_refused(tmp_path):
    content = save(tmp_path, 1, {"model/a": torch.zeros(2), "model/b": torch.ones(2)}, {}).path.read_bytes()
    with pytest.raises(CheckpointError, match=r"\(section model\)"):
        load(write_as(tmp_path, 1, content.replace(b'"model/a"', b'"model/A"')))


def test_a_change_that_means_nothing_is_refused_too(tmp_path):
    for number in range(8):  # one of these lengths leaves room for padding
        file = save(tmp_path, 1, {"model/a": torch.zeros(2)}, {"x": "x" * number})
        content = file.path.read_bytes()
        if b"} " in content:
            file.path.write_bytes(content.replace(b"} ", b"}\t"))
            with pytest.raises(CheckpointError, match=r"\(the header or the padding\): its bytes do not match"):
                load(file)
            return
    raise AssertionError("no padding")


def test_wrong_names_are_refused(file, tmp_path):
    content = file.path.read_bytes()
    for name in ("last.safetensors", "step-300-abc.safetensors", file.path.name + ".bad", file.path.name.upper()):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match="cannot be verified"):
            load(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"the name.*says step 400, the file was saved at step 300"):
        load(write_as(tmp_path, 400, content))
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        load(tmp_path / checkpoint_name(1, "0" * 64))


def hostile():
    def header(text, data=b""):
        return len(text).to_bytes(8, "little") + text + data

    def meta(value):
        return header(json.dumps({"__metadata__": {"optrun": json.dumps(value)}}).encode())

    def signed(value):
        return meta({**value, "sha256": checkpoint_format.digest_json(value)})

    good = {"format": 1, "step": 1, "aliases": {}, "facts": {}, "sections": {}}
    yield from (b"", b"\0" * 8, b"\xff" * 8, b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60, b"\x80\x04\x95" + b"\0" * 60)
    yield from (
        header(b"{}"),
        header(b"[]"),
        header(b"null"),
        header(b"{"),
        header(b"\xff\xff"),
        header(b"[" * 100_000),
    )
    yield header(b'{"a/b":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}', b"\0" * 4)
    yield header(b'{"a/b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"\0" * 8)
    yield header(b'{"a/b":{"dtype":"XX","shape":[1],"data_offsets":[0,4]}}', b"\0" * 4)
    yield header(b'{"a/b":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}', b"\0")
    yield header(b'{"a/b":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}')
    yield header(b'{"__metadata__":{"optrun":3}}')
    yield header(b'{"__metadata__":{"other":"{}"}}')
    yield from (meta(value) for value in (None, [], "x", 3, {}, good, {**good, "sha256": "0" * 64}))
    yield header(json.dumps({"__metadata__": {"optrun": "[" * 100_000}}).encode())
    for key, value in (
        ("aliases", {"model/a": []}),
        ("aliases", {"model/a": "model/b"}),
        ("aliases", [1]),
        ("facts", None),
    ):
        yield signed({**good, key: value})
    for key, value in (
        ("sections", 3),
        ("sections", {"model": "0"}),
        ("sections", {"model": []}),
        ("step", "1"),
        ("step", []),
    ):
        yield signed({**good, key: value})


@pytest.mark.parametrize("content", list(hostile()), ids=lambda content: hashlib.sha256(content).hexdigest()[:6])
def test_hostile_files_are_refused_even_under_a_fitting_name(tmp_path, content):
    with pytest.raises(CheckpointError, match="is damaged"):
        load(write_as(tmp_path, 1, content))


def other_version(tmp_path, step):
    """Write a whole checkpoint as a later version would."""
    header = {"format": 2, "step": step, "something": "new"}
    text = json.dumps({"__metadata__": {"optrun": json.dumps(header)}}).encode()
    return write_as(tmp_path, step, len(text).to_bytes(8, "little") + text)


def test_another_format_version_is_said_so_and_never_quarantined(tmp_path, file):
    newer = other_version(tmp_path, 400)
    with pytest.raises(checkpoints.CheckpointVersionError, match="format version 2; this optrun reads version 1"):
        load(newer)
    with pytest.raises(checkpoints.CheckpointVersionError):
        load_latest(tmp_path, pytest.fail)
    assert newer.exists()


def test_latest_is_the_highest_step_whatever_the_clock_said(tmp_path):
    files = [save(tmp_path, step, state(step), {"step": step}) for step in (200, 1000, 30)]
    for file, moment in zip(files, (3e9, 1e9, 2e9), strict=True):
        os.utime(file.path, (moment, moment))
    assert [file.step for file in list_checkpoints(tmp_path)] == [30, 200, 1000]
    file, tensors, facts = load_latest(tmp_path, pytest.fail)
    assert (file, facts) == (files[1], {"step": 1000})
    assert same(tensors["model/0.weight"], state(1000)["model/0.weight"])


def test_a_damaged_latest_is_quarantined_loudly_and_the_one_before_it_used(tmp_path):
    save(tmp_path, 300, state(), FACTS)
    newest = save(tmp_path, 400, state(1), FACTS)
    content = bytearray(newest.path.read_bytes())
    content[content.index(bits(state(1)["optimizer/0.weight/momentum"]))] ^= 1
    newest.path.write_bytes(content)
    said = []
    file, tensors, _ = load_latest(tmp_path, said.append)
    assert file.step == 300
    assert same(tensors["model/0.weight"], state()["model/0.weight"])
    assert len(said) == 1
    assert said[0].startswith("checkpoint step 400 is damaged (section optimizer)")
    assert said[0].endswith(": using step 300")
    assert (tmp_path / (newest.path.name + ".bad")).read_bytes() == content
    assert [file.step for file in list_checkpoints(tmp_path)] == [300]
    assert load_latest(tmp_path, pytest.fail)[0].step == 300  # it is said once


def test_when_all_are_damaged_nothing_is_loaded_and_everything_said(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, state(step), {}).path.write_bytes(b"\0" * 100)
    said = []
    assert load_latest(tmp_path, said.append) is None
    assert len(said) == 3
    assert all("no earlier one is left" in line for line in said)
    assert len(list(tmp_path.glob("*.bad"))) == 3


def test_no_folder_and_no_checkpoints_give_none(tmp_path):
    assert load_latest(tmp_path, pytest.fail) is None
    assert load_latest(tmp_path / "none", pytest.fail) is None
    assert list_checkpoints(tmp_path / "none") == []


def test_saving_a_step_again_replaces_it(tmp_path):
    save(tmp_path, 5, state(), {"life": 1})
    again = save(tmp_path, 5, state(), {"life": 2})
    assert list_checkpoints(tmp_path) == [again]
    assert save(tmp_path, 5, state(), {"life": 2}) == again  # byte for byte the same: nothing to delete
    assert list_checkpoints(tmp_path) == [again]


def test_of_two_files_of_one_step_the_later_one_is_the_latest(tmp_path):
    one, two = (save(tmp_path / str(life), 5, state(), {"life": life}).path for life in (1, 2))
    for later, earlier in ((one, two), (two, one)):
        os.utime(earlier, (1e9, 1e9))
        os.utime(later, (2e9, 2e9))
        both = tmp_path / f"both-{later.parent.name}"
        both.mkdir()
        for path in (one, two):
            os.link(path, both / path.name)
        assert list_checkpoints(both)[-1].path.name == later.name


def test_prune_keeps_what_any_keeper_wants_and_what_is_not_theirs(tmp_path):
    owners = {1: ["a"], 2: ["a", "b"], 3: ["b"], 4: [BY_HAND], 5: ["c"], 6: ["a", "c"], 7: None, 8: ["a"], 9: ["b"]}
    for step, names in owners.items():
        save(tmp_path, step, {"a/x": torch.tensor(step)}, {} if names is None else {"kept_by": names})
    (tmp_path / "notes.txt").touch()
    seen = {}

    def newest(name, keep):
        return lambda own: seen.setdefault(name, own)[-keep:]

    assert [file.step for file in prune(tmp_path, {"a": newest("a", 2), "b": newest("b", 3)})] == [1, 2]
    assert seen == {"a": [1, 2, 6, 7, 8], "b": [2, 3, 7, 9]}  # 7, without a record, is everyone's
    assert [file.step for file in list_checkpoints(tmp_path)] == [3, 4, 5, 6, 7, 8, 9]
    assert [file.step for file in prune(tmp_path, {"a": lambda own: {8}})] == [7]
    assert (tmp_path / "notes.txt").exists()


def test_a_checkpoint_whose_record_cannot_be_read_is_nobodys_to_delete(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, {"a/x": torch.tensor(step)}, {"kept_by": ["a"]})
    damaged, _ = list_checkpoints(tmp_path)
    for content in (b"", b"\xff" * 8, b"\xff" * 7, (40).to_bytes(8, "little") + b"[" * 40):
        checkpoints._kept_by.cache_clear()
        damaged.path.write_bytes(content)
        assert prune(tmp_path, {"a": lambda own: own}) == []
    assert [file.step for file in prune(tmp_path, {"a": lambda own: []})] == [2]


def test_a_full_disk_leaves_the_older_checkpoints_and_no_stray_file(tmp_path, file, monkeypatch):
    def full(descriptor, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.system, "write", full)
    with pytest.raises(StorageError, match="Nothing saved before is lost"):
        save(tmp_path, 400, state(1), FACTS)
    assert os.listdir(tmp_path) == [file.path.name]
    load(file)


def test_the_new_checkpoint_is_durable_before_an_older_one_is_deleted(tmp_path, file, monkeypatch):
    calls = []
    for name in ("fsync", "replace", "unlink"):
        call = getattr(storage.system, name)
        monkeypatch.setattr(
            storage.system, name, lambda *args, name=name, call=call: (calls.append(name), call(*args))[1]
        )
    save(tmp_path, 300, state(1), FACTS)
    assert calls == ["fsync", "replace", "fsync", "unlink"]


KILLED = """
import os, signal, sys, torch
from optrun.experiments.run_directory import checkpoints
from optrun.experiments.system import storage
torch.set_num_threads(1)
names = ("open", "write", "fsync", "close", "replace", "unlink")
count = 0
def wrap(name):
    call = getattr(storage.system, name)
    def wrapped(*args):
        global count
        count += 1
        if count == kill_at:
            if name == "write":
                call(args[0], bytes(args[1])[: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args)
    return wrapped
for name in names:
    setattr(storage.system, name, wrap(name))
for kill_at in range(1, 60):
    count = 0
    folder = f"{sys.argv[1]}/{kill_at}"
    if os.fork():
        _, status = os.wait()
        print(kill_at, os.WIFSIGNALED(status), flush=True)
        if not os.WIFSIGNALED(status):
            break
    else:
        for step in (3, 4):
            checkpoints.save(folder, step, {"model/w": torch.full((4,), float(step))}, {"step": step})
            checkpoints.prune(folder, {"hook": lambda own: own[-2:]})
        os._exit(0)
"""


@pytest.mark.skipif(os.name == "nt", reason="needs fork")
def test_killed_at_every_call_the_old_or_the_new_state_loads(tmp_path, server):
    for step in (1, 2):
        save(tmp_path / "whole", step, {"model/w": torch.full((4,), float(step))}, {"step": step})
    for kill_at in range(1, 60):
        shutil.copytree(tmp_path / "whole", tmp_path / str(kill_at))
    child = server.python(KILLED, str(tmp_path))
    out, err = child.communicate()
    assert child.returncode == 0, err
    lines = out.decode().split("\n")[:-1]
    assert len(lines) > 15
    assert lines[-1].endswith("False")
    steps = []
    for line in lines:
        folder = tmp_path / line.split()[0]
        file, tensors, facts = load_latest(folder, pytest.fail)
        assert torch.equal(tensors["model/w"], torch.full((4,), float(file.step)))
        assert facts == {"step": file.step}
        storage.sweep_temporaries(folder)
        assert all(parse_checkpoint_name(name) for name in os.listdir(folder))
        assert len(list_checkpoints(folder)) >= 2
        steps.append(file.step)
    assert steps == sorted(steps)
    assert {2, 3, 4} == set(steps)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_device_tensors_are_copied_to_the_cpu(tmp_path):
    weight = torch.randn(5, 5, device="cuda")
    loaded, _ = load(save(tmp_path, 1, *snapshot(1, {"model/a": weight, "model/b": weight}, {})))
    assert loaded["model/a"] is loaded["model/b"]
    assert same(loaded["model/a"], weight.cpu())


def test_no_pickle_is_used(tmp_path):
    code = (
        "import sys, torch, pickle\nfrom optrun.experiments.run_directory.checkpoints import *\n"
        "def refuse(*args, **kw): raise SystemExit('pickle')\n"
        "pickle.dumps = pickle.loads = pickle.dump = pickle.load = pickle.Unpickler = pickle.Pickler = refuse\n"
        "torch.save = torch.load = refuse\n"
        "print(load(save(sys.argv[1], 1, {'model/w': torch.ones(2)}, {}))[0])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
