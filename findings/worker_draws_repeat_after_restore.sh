#!/usr/bin/env bash
# torchdata 0.11.0, StatefulDataLoader: after load_state_dict, workers draw again the random numbers of the pass's start.
#
# A good guess: the rest of an interrupted pass is the rest of the pass, augmentation by random numbers included; or else
# it has new random numbers.
# Behaviour: with num_workers above 0 the state has the base seed of the workers, and nothing of how far their generators
# were. Each worker of the new loader seeds torch, numpy and random as at the start of the pass, and goes on at its place
# in the data. So the examples after a restore are augmented by the numbers that the first examples of the pass had,
# whatever the new process has seeded, and a job that is resumed often draws few different ones. It holds for map-style
# data sets and for streams with a state. Without workers (num_workers=0) the numbers come from the process's own
# generators, and are exact if these are put back after iter() was called. The way out in its README is a data set that
# keeps a generator of its own in its state; nothing warns of the others.
#
# Output seen (torchdata 0.11.0, torch 2.13.0, numpy 2.4.6, Python 3.11; each pass has 12 batches, 4 are read before):
#   torch  2 workers: the examples go on True, their numbers are the pass's False, those of its start True
#   numpy  2 workers: the examples go on True, their numbers are the pass's False, those of its start True
#   random 2 workers: the examples go on True, their numbers are the pass's False, those of its start True
#   torch  0 workers: the examples go on True, their numbers are the pass's True, those of its start False
#   numpy  0 workers: the examples go on True, their numbers are the pass's True, those of its start False
#   random 0 workers: the examples go on True, their numbers are the pass's True, those of its start False
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 torchdata==0.11.0 numpy==2.4.6
cat >"$work/draws.py" <<'PYTHON'
import random
import warnings

import numpy as np
import torch
from torch.utils.data import Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

warnings.simplefilter("ignore")
DRAWS = {"torch": lambda: torch.rand(()).item(), "numpy": lambda: float(np.random.rand()), "random": random.random}


class Noisy(Dataset):
    """Examples that are their number, and a random one."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return 24

    def __getitem__(self, number):
        return number, DRAWS[self.source]()


def seed(number):
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def loader(source, num_workers):
    return StatefulDataLoader(Noisy(source), batch_size=2, num_workers=num_workers)


def read(batches):
    return [(numbers.tolist(), drawn.tolist()) for numbers, drawn in batches]


if __name__ == "__main__":
    for num_workers in (2, 0):
        for source in DRAWS:
            seed(0)
            whole = read(loader(source, num_workers))
            seed(0)
            first = loader(source, num_workers)
            batches = iter(first)
            assert read(next(batches) for _ in range(4)) == whole[:4], "two passes with one seed differ"
            state = first.state_dict()
            kept = torch.get_rng_state(), np.random.get_state(), random.getstate()

            seed(5)  # the process that goes on is another one
            again = loader(source, num_workers)
            again.load_state_dict(state)
            batches = iter(again)
            torch.set_rng_state(kept[0])
            np.random.set_state(kept[1])
            random.setstate(kept[2])
            rest = read(batches)
            goes_on = [numbers for numbers, _ in rest] == [numbers for numbers, _ in whole[4:]]
            drawn = [numbers for _, numbers in rest]
            is_rest = drawn == [numbers for _, numbers in whole[4:]]
            is_start = drawn == [numbers for _, numbers in whole[:8]]
            said = f"their numbers are the pass's {is_rest}, those of its start {is_start}"
            print(f"{source:<6} {num_workers} workers: the examples go on {goes_on}, {said}")
            assert goes_on, "the examples do not go on"
            assert is_start == (num_workers == 2) and is_rest == (num_workers == 0), "the numbers are others now"
PYTHON
"$work/venv/bin/python" "$work/draws.py"
