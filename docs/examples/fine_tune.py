"""Fine-tuning: begin at the best checkpoint of another run, and draw what that gains on few examples."""

import matplotlib.pyplot as plt

from optrun.experiments import Dataset, Run, make_data, train


def scans(start: int, stop: int, shift: int = 0) -> Dataset:
    """Take the digits `start` to `stop` - 1, as a scanner sees them that is off by `shift` pixels."""
    digits = make_data("digits")
    inputs = digits.inputs[start:stop].roll(shift, dims=-1)
    return Dataset(inputs, digits.targets[start:stop], "classes", digits.num_outputs)


def main() -> tuple[Run, Run]:
    old = train("mom", {"data.name": f"{__file__}:scans", "data.start": 0, "data.stop": 1400}, name="scanner")
    few = {"name": f"{__file__}:scans", "start": 1400, "stop": 1700, "shift": 1, "batch_size": 16}
    values = {"data": few, "train.epochs": 5}
    # `from` may be a file, such as pretrained.ckpt; for other classes, `"fresh": ["head.*"]` leaves the head out.
    init = {"name": "warm_start", "from": old.name, "checkpoint": "best"}
    fresh = train("mom", values, name="fresh")
    later = {"train.freeze": ["conv.*"], "hooks": [{"name": "unfreeze", "at": "2 epochs", "match": ["conv.*"]}]}
    tuned = train("mom", values | {"init": init, "optimizer.lr": 0.01} | later, name="tuned")
    return fresh, tuned


if __name__ == "__main__":
    for run in main():
        accuracy = run.metrics["val/accuracy"]
        plt.plot(accuracy.steps, accuracy.values, label=run.name)
        print(run.name, run.summary["final"]["test/accuracy"])
    plt.xlabel("step")
    plt.ylabel("validation accuracy")
    plt.legend()
    plt.savefig("fine_tune.png")
