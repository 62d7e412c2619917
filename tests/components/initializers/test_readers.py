"""Files of weights: what other programs wrote is read as they wrote it, and what is none is named as what it is."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import pickle
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from optrun.experiments import build, load_config, warm_start
from optrun.experiments.components.initializers.matching import InitialWeights
from optrun.experiments.components.initializers.readers import read
from optrun.experiments.config import ConfigError
from optrun.experiments.errors import CheckpointError, DataError, OptrunError, UsageError

FIXTURES = Path(__file__).parents[2] / "fixtures" / "weights"


class Net(nn.Module):
    """The net of most fixtures."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(64, 10)


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def taken(model: nn.Module, content: object, **options: object) -> InitialWeights:
    """Write what torch.save makes of it, and let the model begin with that."""
    torch.save(content, "given.pt")
    return warm_start(model, from_="given.pt", **options)  # type: ignore[arg-type]


def equal(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(a.equal(b) for a, b in pairs)


def sha256(tensor: Tensor) -> str:
    content = tensor.detach().contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor
    return hashlib.sha256(content.numpy().tobytes()).hexdigest()


# ---- what other programs wrote ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "part", "prefix"),
    [
        ("lightning-weights-only", None, "state_dict."),
        ("torch-legacy-format", None, "model."),
        ("torch-legacy-format", ".", ""),
        ("torch-dataparallel-prefix", None, ""),
        ("torch-ema-averaged", "ema", "ema."),
        ("torch-ema-averaged", "model", "model."),
        ("torch-noncontig", None, ""),
        ("torch-bf16", None, ""),
        ("hf-safetensors-gpt2-tied-sharded", None, ""),
        ("safetensors-save-model-tied", None, ""),
    ],
)
def test_each_tensor_has_the_bytes_that_its_own_program_reads(name, part, prefix) -> None:
    expected = json.loads((FIXTURES / name / "expected.json").read_text())
    found = read(FIXTURES / name / expected["path"], part).tensors
    wanted = {n.removeprefix(prefix): v for n, v in expected["tensors"].items() if n.startswith(prefix)}
    assert found.keys() == wanted.keys()
    for key, (shape, dtype, digest) in wanted.items():
        assert (list(found[key].shape), str(found[key].dtype)) == (shape, f"torch.{dtype}"), key
        assert sha256(found[key]) == digest, key


@pytest.mark.parametrize(
    ("name", "options", "notes"),
    [
        ("lightning-weights-only/model.ckpt", {}, ("without 'net.' in front",)),
        ("torch-dataparallel-prefix/model.pt", {}, ("without 'module.' in front",)),
        ("torch-ema-averaged/model.pt", {"part": "ema"}, ("without 'module.' in front",)),
        ("torch-ema-averaged/model.pt", {"part": "model"}, ()),
        ("torch-legacy-format/model.pt", {}, ()),
        ("torch-bf16/model.pt", {}, ()),
    ],
)
def test_a_net_begins_with_them_and_is_told_what_was_left_out_of_names(name, options, notes) -> None:
    made = warm_start(Net(), from_=str(FIXTURES / name), **options)
    assert (made.num_taken, made.notes) == (9, notes)


# ---- containers ------------------------------------------------------------------------------------------------------

OPTIMIZER = {"state": {0: {"momentum_buffer": torch.zeros(3, 2)}}, "param_groups": [{"lr": 0.1}]}
FORMS = {
    "alone": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state, "optimizer": OPTIMIZER},
    "model": lambda state: {"model": state, "optimizer": OPTIMIZER, "rng_state": torch.get_rng_state()},
    "model_state_dict": lambda state: {"model_state_dict": state, "optimizer_state_dict": OPTIMIZER, "loss": 0.25},
    "of a name of one's own": lambda state: {"resnet": state, "lr_scheduler": {"best": torch.tensor(1.0)}},
    "two deep": lambda state: {"checkpoint": {"model": state, "optimizer": OPTIMIZER}, "args": {"lr": 0.1}},
    "lightning": lambda state: {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"net.{name}": value for name, value in state.items()},
        "optimizer_states": [OPTIMIZER],
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
    },
    "lightning with an average": lambda state: {
        "pytorch-lightning_version": "2.6.6",
        "state_dict": {f"model.{name}": value for name, value in state.items()},
        "current_model_state": {f"model.{name}": value * 0 for name, value in state.items()},
        "averaging_state": {"n_averaged": torch.tensor(3)},
    },
    "a counter and an extra state": lambda state: {**state, "_extra_state": None, "note": "text"},
}
PREFIXES = ("", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "_fsdp_wrapped_module.")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_weights_in_a_container_are_found_by_rule(form, prefix) -> None:
    old, new = net(), net()
    old[1].running_mean.fill_(7.0)
    content = FORMS[form]({f"{prefix}{name}": value for name, value in old.state_dict().items()})
    made = taken(new, content)
    assert equal(old, new)
    assert made.num_taken == 9


def test_a_compiled_part_has_its_name_in_the_middle() -> None:
    old, new = net(), net()
    taken(new, {name.replace("0.", "0._orig_mod."): value for name, value in old.state_dict().items()})
    assert equal(old, new)


def test_an_average_that_lightning_kept_is_told_and_the_live_weights_can_be_had() -> None:
    old, new = net(), net()
    content = FORMS["lightning with an average"](old.state_dict())
    assert "`part: current_model_state`" in taken(new, content).notes[0]
    taken(new, content, part="current_model_state")
    assert all(not value.any() for value in new.state_dict().values())


def test_a_model_whose_own_names_begin_so_keeps_them() -> None:
    old, new = nn.ModuleDict({"module": net()}), nn.ModuleDict({"module": net()})
    assert taken(new, old.state_dict()).notes == ()
    assert equal(old, new)


def test_a_map_may_name_a_prefix_or_leave_it_to_the_rule() -> None:
    old = net()
    content = {f"module.{name}": value for name, value in old.state_dict().items()}
    for mapping in ({"module.*": "*"}, {"2.*": "2.*"}, {"module.2.*": "2.*", "module.*": "*"}):
        new = net()
        taken(new, content, map=mapping)
        assert equal(old, new)


@pytest.mark.parametrize(
    ("content", "phrases"),
    [
        ({"model": {"w": torch.zeros(1)}, "ema": {"w": torch.zeros(1)}}, ["model (1 tensor), ema", "`part: model`"]),
        ({"generator": {"w": torch.zeros(1)}, "critic": {"w": torch.zeros(1)}}, ["`part: generator`", "`part: .`"]),
        ({"w": torch.zeros(1), "teacher": {"w": torch.zeros(1)}}, ["teacher (1 tensor)", "1 tensor beside it (w)"]),
        ({"state_dict": {"w": torch.zeros(1)}, "state_dict_ema": {"w": torch.zeros(1)}}, ["`part: state_dict`"]),
        (OPTIMIZER, ["holds the state of an optimizer, and no weights"]),
        ({"epoch": 3, "best": 0.5}, ["holds no tensors by name"]),
        (torch.zeros(3), ["one tensor without a name"]),
        ([torch.zeros(3)], ["a list of 1"]),
        ({}, ["holds no tensors by name"]),
    ],
)
def test_what_names_no_one_set_of_weights_is_refused_with_the_candidates(content, phrases) -> None:
    with pytest.raises(UsageError) as caught:
        taken(net(), content)
    assert all(phrase in str(caught.value) for phrase in ["given.pt", *phrases])


def test_a_part_is_chosen_by_the_keys_that_lead_to_it_or_is_all() -> None:
    old = net()
    both = {"a": {"b.c": old.state_dict()}, "d": {"w": torch.zeros(1)}}
    new = net()
    taken(new, both, part="a.b.c")
    assert equal(old, new)
    pair = nn.ModuleDict({"encoder": net(), "decoder": net()})
    new_pair = nn.ModuleDict({"encoder": net(), "decoder": net()})
    taken(new_pair, {"encoder": pair["encoder"].state_dict(), "decoder": pair["decoder"].state_dict()}, part=".")
    assert equal(pair, new_pair)
    for part, phrase in [("a.b.d", "it has a, a.b.c, d"), ("e", "it has a"), ("optimizer", "is the state of")]:
        with pytest.raises(UsageError, match=f"part: .*{phrase}"):
            taken(net(), {**both, "optimizer": OPTIMIZER}, part=part)
    safetensors.torch.save_file(old.state_dict(), "old.safetensors")
    with pytest.raises(UsageError, match=r"part: old\.safetensors has no parts"):
        warm_start(net(), from_="old.safetensors", part="model")


# ---- what cannot be taken over ---------------------------------------------------------------------------------------


class Own:
    """An object of a class of one's own, which only executing a pickle could make."""


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        ({"model": {}, "args": argparse.Namespace(lr=1)}, r"holds an object of argparse\.Namespace, and to make it"),
        ({"model": {}, "best": np.float64(1)}, r"holds an object of numpy\._core\.multiarray\.scalar"),
        (Own(), r"holds an object of .*Own"),
    ],
)
def test_objects_that_only_code_could_make_are_refused(content, phrase) -> None:
    with pytest.raises(DataError, match=phrase) as caught:
        taken(net(), content)
    assert len(str(caught.value)) < 300
    assert "weights_only" not in str(caught.value)


def test_a_malicious_pickle_is_not_executed() -> None:
    class Evil:
        def __reduce__(self):
            return (open, ("executed", "w"))

    for name in ("evil.pt", "evil.bin"):
        Path(name).write_bytes(pickle.dumps({"w": Evil()}, protocol=2))
        with pytest.raises(DataError, match=f"{name} "):
            warm_start(net(), from_=name)
    torch.save({"w": Evil()}, "evil.ckpt")
    with pytest.raises(DataError, match="holds an object of"):
        warm_start(net(), from_="evil.ckpt")
    assert not Path("executed").exists()


def _zipped(**files: bytes) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "phrase"),
    [
        (b"", "an empty file"),
        (bytes(1000), "a file of zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\n<html>", "a web page"),
        (b"\x89HDF\r\n\x1a\n" + bytes(30), "an HDF5 file"),
        (b"\x93NUMPY\x01\x00" + bytes(30), "one array of numpy"),
        (b"\x1f\x8b\x08" + bytes(30), "packed by gzip"),
        (b"GGUF" + bytes(30), "a GGUF file"),
        (_zipped(**{"model.weights.h5": b"", "config.json": b""}), "a Keras archive"),
        (_zipped(**{"m/constants.pkl": b"", "m/data.pkl": b"", "m/code/m.py": b""}), "a TorchScript program"),
        (_zipped(**{"m/archive_format": b"pt2"}), r"a program of torch\.export"),
        (_zipped(**{"readme.txt": b"hello"}), r"a zip archive of readme\.txt"),
        (b"hello, world", r"begins with 'hello, world'"),
        (b"PK\x03\x04" + bytes(40), "cannot be read as"),
    ],
)
@pytest.mark.parametrize("name", ["given.pt", "given.npz", "given.safetensors", "given.bin", "given.ckpt"])
def test_another_format_is_named_whatever_the_file_is_called(name, content, phrase) -> None:
    Path(name).write_bytes(content)
    if name.endswith((".npz", ".safetensors")) and content == b"hello, world":
        phrase = "cannot be read as"
    with pytest.raises(DataError, match=rf"{name} (is |is no |).*{phrase}"):
        warm_start(net(), from_=name)


@pytest.mark.parametrize("to", ["given.pt", "given.npz", "given.bin", "given.safetensors"])
def test_a_format_is_told_by_its_content_and_not_by_its_name(to) -> None:
    old = net()
    state = old.state_dict()
    np.savez("n", **{name: value.numpy() for name, value in state.items()})
    torch.save(state, "t")
    torch.save(state, "l", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, "s")
    for name in ("n.npz", "t", "l", "s"):
        Path(to).write_bytes(Path(name).read_bytes())
        new = net()
        warm_start(new, from_=to)
        assert equal(old, new), name
        new = net()
        warm_start(new, from_=f"./{name}")
        assert equal(old, new), name


def error_of(path: Path) -> str | None:
    try:
        read(path)
    except OptrunError as error:
        return str(error)
    return None


def test_damage_is_an_error_of_the_file_or_harmless() -> None:
    """Truncated anywhere, or with a byte changed, a file gives an error that names it, or tensors."""
    draw = random.Random(0)
    state = net().state_dict()
    np.savez("given.npz", **{name: value.numpy() for name, value in state.items()})
    torch.save(state, "given.pt")
    torch.save({"model": state}, "given.ckpt", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, "given.safetensors")
    outcomes = {"error": 0, "read": 0}
    for name in ("given.npz", "given.pt", "given.ckpt", "given.safetensors"):
        whole = Path(name).read_bytes()
        damaged = [whole[: draw.randrange(len(whole))] for _ in range(40)]
        for _ in range(40):
            content = bytearray(whole)
            content[draw.randrange(min(len(content), 1200))] ^= draw.randrange(1, 256)
            damaged.append(bytes(content))
        for content in damaged:
            Path(name).write_bytes(content)
            error = error_of(Path(name))
            assert error is None or name in error
            outcomes["read" if error is None else "error"] += 1
    assert outcomes["error"] > 160, outcomes


# ---- types -----------------------------------------------------------------------------------------------------------

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("there", FLOATS, ids=str)
@pytest.mark.parametrize("here", FLOATS[:4], ids=str)
def test_numbers_go_from_any_type_of_float_to_any_other(there, here) -> None:
    values = torch.tensor([0.5, -2.0, 0.0, 1.0])  # exact in all of them
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(4, dtype=here))})
    made = taken(model, {"w": values.to(there)})
    assert torch.equal(model["w"].float(), values)
    assert bool(made.matches[0].note) == (there != here)


@pytest.mark.parametrize(
    ("value", "phrase"),
    [
        (torch.ones(4, dtype=torch.complex64), "w is complex64 there, float32 here"),
        (torch.ones(4, dtype=torch.int64), "w is int64 there, float32 here"),
        (torch.ones(4, dtype=torch.bool), "w is bool there, float32 here"),
        (torch.eye(4).to_sparse(), r"w of given\.pt is a sparse tensor"),
        (torch.ones(4, device="meta"), r"w of given\.pt is a tensor without data"),
        (torch.full((4,), 1e300, dtype=torch.float64), r"w of given\.pt has values that are infinite as float32"),
        (torch.ones(2, 2), r"w has shape \(2, 2\) there, \(4,\) here"),
        ("text", r"w of given\.pt is the text 'text'"),
        (None, r"w of given\.pt is null"),
    ],
)
def test_what_cannot_become_a_weight_is_named_with_its_reason(value, phrase) -> None:
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(4)), "v": nn.Parameter(torch.zeros(1))})
    with pytest.raises(UsageError, match=phrase):
        taken(model, {"w": value, "v": torch.ones(1)})
    assert not model["v"].any(), "half set"


@pytest.mark.filterwarnings("ignore")
def test_quantised_values_are_named() -> None:
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(2))})
    with pytest.raises(UsageError, match=r"a quantised tensor \(qint8\).*dequantize"):
        taken(model, {"w": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), "v": torch.ones(1)})


def test_types_of_numpy_that_torch_has_not_are_named_where_they_are_wanted() -> None:
    good = {"w": np.ones(2, ">f4"), "n": np.array(3)}
    arrays = {"void": np.zeros(3, "V2"), "text": np.array(["x"]), "date": np.zeros(2, "M8[s]")}
    model = nn.ParameterDict({"w": nn.Parameter(torch.zeros(2))})
    model.register_buffer("n", torch.tensor(0))
    np.savez("given.npz", **good, **arrays)
    made = warm_start(model, from_="given.npz")
    assert torch.equal(model["w"], torch.ones(2))
    assert int(model.n) == 3
    assert [m.theirs for m in made.matches if m.what == "no tensor"] == list(arrays)
    np.savez("given.npz", **good | {"w": np.zeros(2, "V2")})
    with pytest.raises(UsageError, match=r"w of given\.npz is an array of void \(V2\).*bfloat16.*float32"):
        warm_start(model, from_="given.npz")


# ---- tied weights ----------------------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.emb, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.emb.weight


def test_a_tied_weight_may_be_there_once_or_twice_but_not_with_two_values() -> None:
    weight = torch.randn(5, 3)
    for state in ({"emb.weight": weight}, {"head.weight": weight}, {"emb.weight": weight, "head.weight": weight}):
        model = Tied()
        made = taken(model, state)
        assert torch.equal(model.head.weight, weight)
        assert made.num_taken == 2
    with pytest.raises(UsageError, match=r"emb\.weight and head\.weight are one tensor of the model, and differ"):
        taken(Tied(), {"emb.weight": weight, "head.weight": weight + 1})


# ---- folders and shards ----------------------------------------------------------------------------------------------


def write_shards(folder: Path, state: dict[str, Tensor], end: str = "safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    names = list(state)
    weight_map = {}
    for number, part in enumerate((names[:3], names[3:]), start=1):
        file = f"{'model' if end == 'safetensors' else 'pytorch_model'}-{number:05d}-of-00002.{end}"
        inside = {name: state[name] for name in part}
        if end == "bin":
            torch.save(inside, folder / file)
        else:
            safetensors.torch.save_file(inside, folder / file)
        weight_map |= dict.fromkeys(part, file)
    index = folder / f"{'model.safetensors' if end == 'safetensors' else 'pytorch_model.bin'}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("end", ["safetensors", "bin"])
def test_a_folder_or_its_index_is_all_of_its_shards(end) -> None:
    old = net()
    index = write_shards(Path("bert"), old.state_dict(), end)
    (Path("bert") / "config.json").write_text("{}")
    (Path("bert") / "training_args.bin").write_bytes(b"other")
    for source in ("bert", "./bert", "bert/", str(index)):
        new = net()
        warm_start(new, from_=source)
        assert equal(old, new), source
    shard = next(Path("bert").glob("*-00001-of-*"))
    with pytest.raises(UsageError, match="is one of 2 shards: name their folder, or their index"):
        warm_start(net(), from_=str(shard))
    shard.unlink()
    with pytest.raises(DataError, match=r"lists .*-00001-of-00002\.\w+ of 2 shards, which is not in its folder"):
        warm_start(net(), from_="bert")


def test_one_format_of_a_folder_is_read_and_two_sets_are_not_guessed_between() -> None:
    old, folder = net(), Path("bert")
    folder.mkdir()
    torch.save({}, folder / "pytorch_model.bin")
    safetensors.torch.save_file(old.state_dict(), folder / "model.safetensors")
    safetensors.torch.save_file(net().state_dict(), folder / "adapter.safetensors")
    new = net()
    warm_start(new, from_="bert")
    assert equal(old, new)
    (folder / "model.safetensors").rename(folder / "first.safetensors")
    with pytest.raises(UsageError, match=r"several sets of weights: adapter\.safetensors, first\.safetensors"):
        warm_start(net(), from_="bert")


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("[]", "is no index of shards"),
        ('{"weight_map": 3}', "is no index of shards"),
        ("{", "is no index of shards"),
        ('{"weight_map": {}}', "lists no tensors"),
        ('{"weight_map": {"w": "../x.bin"}}', "which is no file of its folder"),
        ('{"weight_map": {"w": "/etc/passwd"}}', "which is no file of its folder"),
        ('{"weight_map": {"w": "a.safetensors"}}', r"says that w is in a\.safetensors, which has it not"),
    ],
)
def test_an_index_that_is_none_is_named(text, phrase) -> None:
    safetensors.torch.save_file({"v": torch.zeros(1)}, "a.safetensors")
    Path("model.safetensors.index.json").write_text(text)
    with pytest.raises(DataError, match=rf"model\.safetensors\.index\.json {phrase}|names.*{phrase}"):
        warm_start(net(), from_="model.safetensors.index.json")


@pytest.mark.parametrize(
    ("files", "phrase"),
    [
        ([], "it is empty"),
        (["notes.txt"], r"it has notes\.txt"),
        (["model-00001-of-00002.safetensors"], "and no index of them"),
        ([".metadata", "__0_0.distcp"], "a distributed checkpoint of torch"),
        (["checkpoint", "ckpt-1.index"], "a checkpoint of TensorFlow"),
        (["_METADATA"], "a checkpoint of orbax"),
        (["tf_model.h5"], "weights for TensorFlow alone"),
    ],
)
def test_a_folder_without_weights_says_what_it_has(files, phrase) -> None:
    folder = Path("made") / "bert"
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=phrase):
        warm_start(net(), from_="made/bert")


def test_a_checkpoint_of_a_run_under_another_name_is_none(tmp_path) -> None:
    from optrun.experiments.run_directory import checkpoints

    path = checkpoints.save(tmp_path, 1, {"model/w": torch.zeros(1)}, {}).path
    path.rename("mine.safetensors")
    with pytest.raises(CheckpointError, match="give it its own name back"):
        warm_start(net(), from_="mine.safetensors")


# ---- what to do about it ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda state: {f"model.{n}": v for n, v in state.items()}, {"model.*": "*"}),
        (lambda state: {f"a.b.{n}": v for n, v in state.items()}, {"a.b.*": "*"}),
        (
            lambda state: {**{f"net.{n}": v for n, v in state.items()}, "head.w": torch.zeros(1)},
            {"head.*": None, "net.*": "*"},
        ),
    ],
)
def test_a_prefix_that_makes_all_names_match_is_proposed_and_works(change, wanted) -> None:
    old, new = net(), net()
    with pytest.raises(UsageError) as caught:
        taken(new, change(old.state_dict()))
    assert f"`map: {json.dumps(wanted)}` would make all names match" in str(caught.value)
    taken(new, change(old.state_dict()), map=wanted)
    assert equal(old, new)


def test_a_prefix_of_the_model_is_proposed_too() -> None:
    old, new = net(), nn.ModuleDict({"backbone": net()})
    with pytest.raises(UsageError, match=r'`map: \{"\*": "backbone\.\*"\}` would make'):
        taken(new, old.state_dict())
    taken(new, old.state_dict(), map={"*": "backbone.*"})
    assert equal(old, new["backbone"])


def test_what_starts_fresh_needs_no_counterpart() -> None:
    old, new = net(), net()
    new[2] = nn.Linear(3, 7)
    before = new[2].weight.clone()
    made = taken(new, old.state_dict(), fresh=("2.*",))
    assert torch.equal(new[2].weight, before)
    assert torch.equal(new[0].weight, old[0].weight)
    assert [m.ours for m in made.matches if m.what == "keeps its own start"] == ["2.weight", "2.bias"]
    with pytest.raises(UsageError, match=r"fresh: '3\.\*' matches none"):
        taken(net(), old.state_dict(), fresh=("3.*",))
    with pytest.raises(UsageError, match="leave nothing to take over"):
        taken(net(), old.state_dict(), fresh=("*",))


def test_a_folder_is_relative_to_the_configuration_that_names_it(tmp_path, monkeypatch) -> None:
    small = {"data": "iris", "model": "logistic", "loss": "cross_entropy", "optimizer": "sgd", "train": {"steps": 1}}
    state = build(small).model.state_dict()
    project = tmp_path / "project"
    write_shards(project / "bert", {**state, "more": torch.zeros(1)})
    init = {"name": "warm_start", "from": "bert", "map": {"more": None}}
    (project / "a.yaml").write_text(json.dumps({**small, "init": init}))
    config = load_config(project / "a.yaml")
    assert config.init is not None
    assert config.init.args["from"] == str(project / "bert")
    experiment = build(config)
    experiment.initial()
    assert experiment.initial_weights is not None
    assert experiment.initial_weights.num_taken == len(state)
    (project / "a.yaml").write_text(json.dumps({**small, "init": init | {"map": None}}))
    with pytest.raises(ConfigError, match="no place for more") as caught:
        build(load_config(project / "a.yaml")).initial()
    assert caught.value.problems[0].key == "init"
