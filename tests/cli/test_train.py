"""`optrun train` and `optrun resume`, as a user types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from optrun.cli.texts.run_text import setting_text
from optrun.experiments.config.other_names import _HERE
from optrun.experiments.training.session import loop_times

GOLDEN = Path(__file__).parent / "golden"


def normalised(text: str) -> str:
    """Replace what differs from one time and machine to the next."""
    text = re.sub(r"in \d+\.\d\d s", "in N s", text)
    text = re.sub(r"\d+ threads?", "N threads", text)
    text = re.sub(r"\d\.\d{2,}", "0.NNNN", text)
    text = re.sub(r"[▁▂▃▄▅▆▇█]+", "▁▁", text)
    return re.sub(r"ex/s=\d+( eta=\d+s)", "ex/s=N eta=Ns", text)


def words(text: str) -> str:
    """Return text on one line."""
    return " ".join(text.split())


def test_header_lines_and_summary_read_as_they_should(optrun):
    done = optrun("train", "tiny.yaml")
    assert done.code == 0
    assert normalised(done.err) == (GOLDEN / "train.err.txt").read_text()
    assert normalised(done.out) == (GOLDEN / "train.out.txt").read_text()


def test_settings_read_as_in_yaml():
    text = setting_text({"age": "mean", "at": [1, 0.5], "of": {"deep": True, "none": None}})
    assert yaml.safe_load(text) == {"age": "mean", "at": [1, 0.5], "of": {"deep": True, "none": None}}


def test_no_line_of_the_header_is_wider_than_80_columns(optrun):
    done = optrun(
        *("train", "digits", "--dry-run", "schedule=cosine", "model={name: resnet, depth: 8, width: 4}"),
        "optimizer={name: adamw, weight_decay: 0.123456789, betas: [0.98765, 0.98765], amsgrad: true}",
        "data.augment=[{name: shift, pixels: 2}, {name: noise, std: 0.01}]",
    )
    assert done.code == 0, done.err
    assert max(map(len, done.err.splitlines())) <= 80
    assert "resnet(depth=8, width=4)" in done.err


def test_the_default_target_is_mom(optrun):
    assert "mom · preset mom" in optrun("train", "--dry-run", "train.epochs=1", "model=logistic").err


def test_a_target_that_matches_nothing_lists_what_exists(optrun):
    done = optrun("train", "mmo")
    assert done.code == 2
    assert "Did you mean 'mom'?" in done.err
    assert all(name in done.err for name in ("adam, ", "digits, ", "mom, ", "sgd, ", "vit-digits"))
    assert done.out == ""


def test_two_targets_are_refused(optrun):
    done = optrun("train", "mom", "adam")
    assert done.code == 2
    assert "one target at a time: got mom and adam" in done.err


def test_a_dry_run_leaves_nothing_behind_and_never_shows_the_test_split(optrun, folder):
    done = optrun("train", "tiny.yaml", "--dry-run", "--json")
    assert done.code == 0
    assert done.json["schema"] == "optrun/dry-run@1"
    assert {"loss", "lr", "val/accuracy"} <= set(done.json["values"])
    assert not [name for name in done.json["values"] if name.startswith("test/")]
    assert not (folder / "runs").exists()


def test_options_are_short_for_overrides_and_yield_to_them(optrun):
    done = optrun("train", "tiny.yaml", "--seed", "3", "--device", "cpu", "--precision", "bf16", "--json")
    config = done.json["config"]
    assert (config["seed"], config["train"]["device"], config["train"]["precision"]) == (3, "cpu", "bf16")
    assert optrun("train", "tiny.yaml", "--seed", "3", "seed=4", "--json").json["config"]["seed"] == 4


def test_the_device_may_come_from_the_environment(optrun, monkeypatch):
    monkeypatch.setenv("OPTRUN_DEVICE", "gpu")
    done = optrun("train", "tiny.yaml")
    assert done.code == 2
    assert "train.device" in done.err


def test_json_is_one_document_with_the_result(optrun, folder):
    done = optrun("train", "tiny.yaml", "--json")
    assert done.json["schema"] == "optrun/train@1"
    assert done.json["outcome"] == "done"
    summary = json.loads((folder / "runs/tiny-0001/summary.json").read_text())
    assert done.json["final"] == summary["final"]
    assert done.json["path"] == "runs/tiny-0001"


def test_quiet_says_one_line(optrun):
    done = optrun("train", "tiny.yaml", "-q")
    assert re.fullmatch(r"tiny-0001 done val/loss=\S+ val/accuracy=\S+ test/loss=\S+ test/accuracy=\S+\n", done.out)
    assert done.err == ""


def test_a_name_makes_the_command_repeatable(optrun, folder):
    first = optrun("train", "tiny.yaml", "--name", "a")
    rows = (folder / "runs/a/metrics.jsonl").read_bytes()
    again = optrun("train", "tiny.yaml", "--name", "a")
    assert (first.code, again.code) == (0, 0)
    assert again.out == first.out
    assert "a was finished before" in again.err
    assert (folder / "runs/a/metrics.jsonl").read_bytes() == rows


def test_a_changed_configuration_is_shown_and_needs_permission(optrun, folder):
    optrun("train", "tiny.yaml", "--name", "a", "-q")
    refused = optrun("train", "tiny.yaml", "train.epochs=3", "--name", "a")
    assert refused.code == 2
    assert "train.epochs: 2 -> 3" in refused.err
    assert "--allow-change" in refused.err
    assert "--fresh" in refused.err
    longer = optrun("train", "tiny.yaml", "train.epochs=3", "--name", "a", "--allow-change")
    assert (longer.code, "3 epochs" in longer.out) == (0, True)
    assert re.search(r"going on from step \d+", longer.err)
    fresh = optrun("train", "tiny.yaml", "train.epochs=1", "--name", "a", "--fresh")
    assert (fresh.code, "1 epoch " in fresh.out) == (0, True)
    assert (folder / "runs/.trash/a-1/summary.json").exists()


@pytest.mark.parametrize("option", ["--fresh", "--allow-change"])
def test_permissions_for_an_existing_run_need_its_name(optrun, option):
    done = optrun("train", "tiny.yaml", option)
    assert done.code == 2
    assert "add --name" in done.err


@pytest.mark.parametrize(("policy", "code"), [("raise", 3), ("stop", 3)])
def test_a_diverged_run_exits_3_and_still_gives_its_result(optrun, policy, code):
    args = (
        "train",
        "tiny.yaml",
        "data={name: linear_teacher}",
        "loss=mse",
        "metrics=[mse]",
        "eval.metric=val/loss",
        "optimizer.lr=1e30",
        f"stop.on_nan={policy}",
    )
    done = optrun(*args)
    assert done.code == code
    assert "tiny-0001: diverged" in done.out
    assert "next: optrun train tiny.yaml optimizer.lr=1e+29" in done.err
    assert (done.out + done.err).count("train.clip_norm may help") == 1
    as_json = optrun(*args, "--json")
    assert as_json.code == code
    assert as_json.json["schema"] == "optrun/train@1"
    assert as_json.json["outcome"] == "diverged"


def test_resume_of_a_finished_run_reports_it(optrun):
    optrun("train", "tiny.yaml", "-q")
    again = optrun("resume", "@1", "--json")
    assert again.code == 0
    assert again.json["schema"] == "optrun/resume@1"
    assert "--allow-change" in again.err


def test_resume_with_a_change_needs_permission(optrun):
    optrun("train", "tiny.yaml", "-q")
    assert optrun("resume", "tiny-0001", "train.epochs=4").code == 2
    longer = optrun("resume", "tiny-0001", "train.epochs=4", "--allow-change", "--json")
    assert (longer.code, longer.json["epochs"]) == (0, 4.0)


def test_resume_of_nothing_exits_5(optrun):
    assert optrun("resume", "nothing").code == 5


def test_own_code_that_changed_needs_permission(optrun, folder):
    (folder / "net.py").write_text(
        "import torch\n\ndef net(num_outputs=2):\n    return torch.nn.LazyLinear(num_outputs)\n"
    )
    config = (folder / "tiny.yaml").read_text().replace("model: logistic", "model: ./net.py:net")
    (folder / "tiny.yaml").write_text(config)
    assert optrun("train", "tiny.yaml", "-q", "--name", "a").code == 0
    with (folder / "net.py").open("a") as file:
        file.write("# changed\n")
    refused = optrun("resume", "a", "train.epochs=3", "--allow-change")
    assert refused.code == 2
    assert "--allow-code" in refused.err
    assert optrun("resume", "a", "train.epochs=3", "--allow-change", "--allow-code").code == 0


def test_missing_data_exits_4(optrun):
    done = optrun("train", "tiny.yaml", "data={name: arrays, path: nowhere.npz}")
    assert done.code in (2, 4)
    assert "nowhere.npz" in done.err


def test_a_folder_that_cannot_be_made_exits_74(optrun, folder, monkeypatch):
    (folder / "file").write_text("")
    monkeypatch.setenv("OPTRUN_RUNS_DIR", str(folder / "file"))
    assert optrun("train", "tiny.yaml").code == 74


def test_a_hook_that_fails_exits_2_at_its_key(optrun, folder):
    (folder / "bad.py").write_text(
        "from optrun.experiments import Hook\n\n\nclass Bad(Hook):\n"
        "    def after_run(self, ctx, values):\n        raise KeyError('oops')\n"
    )
    done = optrun("train", "tiny.yaml", "hooks=[./bad.py:Bad]", "--json")
    assert done.code == 2
    assert "hooks.0: KeyError: 'oops'" in done.err
    assert "in after_run of hook 'bad', at step 1" in done.err
    assert "bad.py:6" in done.err
    assert "Traceback" not in done.err
    assert done.json["schema"] == "optrun/error@1"


def test_a_stream_is_trained_on_and_resumed(optrun):
    Path("own.py").write_text(
        "import torch\nfrom torch.utils.data import IterableDataset\n\n\nclass Rows(IterableDataset):\n"
        "    def __iter__(self):\n        return ((torch.ones(2) * n, n % 2) for n in range(40))\n"
    )
    Path("own.yaml").write_text(
        "data: {name: ./own.py:Rows, batch_size: 8, val: 0, test: 0}\nmodel: {name: logistic, num_outputs: 2}\n"
        "loss: cross_entropy\noptimizer: {name: sgd, lr: 0.1}\ntrain: {steps: 6}\neval: {every: 2 steps}\n"
    )
    done = optrun("train", "own.yaml", "--name", "own")
    assert done.code == 0, done.err
    assert "Rows · train a stream · batch 8" in done.err
    assert optrun("resume", "own", "train.steps=8", "--allow-change").code == 0
    assert optrun("show", "own").code == 0
    done = optrun("export", "own", "--to", "torch", "-o", "own.pt", "--checkpoint", "last")
    assert done.code == 0, done.err
    assert "warning" not in done.err


def test_verbose_says_what_is_logged(optrun):
    done = optrun("train", "tiny.yaml", "-v", "log.lines=5 steps")
    assert "step 5: loss" in done.err


@pytest.mark.parametrize(
    ("command", "option", "said"),
    [
        *(("train", f"--{name}", f"Here it is a setting: `{_HERE[name]}=VALUE`.") for name in ("max_epochs", "fp16")),
        ("compare", "--max-epochs=3", "Here it is a setting: `train.epochs=VALUE`."),
        ("resume", "--gradient_clip_val", "Here it is a setting: `train.clip_norm=VALUE`."),
        ("train", "--fast_dev_run", "Here it is `optrun train --dry-run`."),
        ("train", "--lr", "Settings have no dashes: `lr=VALUE`."),
        ("train", "--sede", "Did you mean '--seed'?"),
        ("show", "--max_epochs", "No such option '--max_epochs'."),
    ],
)
def test_a_setting_given_as_an_option_is_refused_with_how_to_give_it(optrun, command, option, said):
    done = optrun(command, option, "3")
    assert done.code == 2
    assert done.err.splitlines()[0].endswith(said)
    assert ("VALUE" in done.err.splitlines()[0]) == ("VALUE" in said)


def test_a_profile_is_printed_after_the_result_and_shown_later(optrun):
    done = optrun("train", "tiny.yaml", "--name", "it", "--profile")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80
    _, table = done.out.split("\n\n")
    title, *lines = table.splitlines()
    assert title.startswith("where the time went: ")
    assert [line.split("  ")[1] for line in lines][:4] == ["part", "first step", "data", "forward"]
    assert table.strip() in optrun("show", "it").out
    again = optrun("train", "tiny.yaml", "--name", "it")
    assert "it was finished before" in again.err
    assert optrun("train", "tiny.yaml").out.count("where the time went") == 0


def test_a_profile_is_an_object_in_json_and_left_out_of_one_line(optrun):
    found = optrun("train", "tiny.yaml", "--profile", "--json").json["profile"]
    assert sum(part["share"] for part in found["parts"]) == pytest.approx(1)
    assert len(optrun("train", "tiny.yaml", "--profile", "--quiet").out.splitlines()) == 1
    done = optrun("train", "tiny.yaml", "--profile", "--dry-run")
    assert done.code == 2
    assert "leave it or --profile out" in done.err


def test_slow_hooks_are_named_at_the_end_with_what_changes_that(optrun, monkeypatch):
    monkeypatch.setattr(loop_times, "_LONG_SECS", 0.0)
    monkeypatch.setattr(loop_times, "_LARGE_SHARE", 0.0)
    done = optrun("train", "tiny.yaml", "--name", "it", "eval.every=4 steps")
    said = re.search(r"hook evaluation took \d+% of the time of the steps \(every 4 steps\): (.*)", words(done.err))
    assert said is not None
    assert said[1].startswith("eval.every changes that")
    assert "hook evaluation took " in words(optrun("show", "it").out)
    document = optrun("train", "tiny.yaml", "--json", "eval.every=4 steps").json
    (slow,) = [each for each in document["slow_hooks"] if each["hook"] == "evaluation"]
    assert (slow["when"], slow["key"]) == ("every 4 steps", "eval.every")
    quiet = optrun("train", "tiny.yaml", "--quiet")
    assert "took" not in quiet.err + quiet.out


def test_what_a_resumed_run_spends_is_profiled_too(optrun):
    optrun("train", "tiny.yaml", "--name", "it", "train.epochs=1")
    done = optrun("resume", "it", "train.epochs=2", "--allow-change", "--profile")
    assert "where the time went: " in done.out
    summary = optrun("show", "it", "--json").json["summary"]
    assert summary["profile"]["steps"] * 2 == summary["steps"]
