"""A schedule of your own, at a rate that the learning-rate range test suggests, drawn beside what it led to."""

import matplotlib.pyplot as plt

from optrun.experiments import Run, find_lr, load_config, train


def sawtooth(step: int, *, length: int = 17, decay: float = 0.7) -> float:
    """Fall to 0 in a line, `length` steps long, and begin again at `decay` times the height of before.

    value(step) = decay^n * (1 - (step - n * length) / length),    n = floor(step / length)
    """
    tooth, place = divmod(step, length)
    return decay**tooth * (1 - place / length)


def draw(run: Run, path: str) -> None:
    """Draw what `run` recorded; any run directory will do: `draw(Run("runs/mom-0001"), "mom.png")`."""
    figure, axes = plt.subplots(3, sharex=True, figsize=(6, 6))
    for ax, name in zip(axes, ("lr", "loss", "val/accuracy"), strict=True):
        ax.plot(run.metrics[name].steps, run.metrics[name].values)
        ax.set_ylabel(name)
    axes[-1].set_xlabel("step")
    figure.savefig(path)


def main(preset: str = "sgd") -> Run:
    lr = find_lr(load_config(preset), low=1e-4).suggestions["steepest"]
    print(f"the loss falls fastest at a rate of {lr:.3g}")
    schedule = {"name": f"{__file__}:sawtooth", "length": 34}
    run = train(preset, {"optimizer.lr": lr, "schedule": schedule, "log.every": "2 steps"})
    draw(run, "own_schedule.png")
    return run


if __name__ == "__main__":
    print(main().summary["final"])
