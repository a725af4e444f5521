"""Draws accuracy against budget from the results of `benchmarks.training`."""

import os
from pathlib import Path

import matplotlib


def draw_budget_curve(result: dict, path: str | os.PathLike) -> None:
    """Write a PNG with each run as a point and the means as a line, with and without test-time augmentation.

    Args:
        result: as in the JSON of `benchmarks.training`.
        path: the file to write; its folder is made when absent.
    """
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5), layout="constrained")
    kinds = {"test_accuracy": ("tab:blue", "one view"), "test_accuracy_tta": ("tab:orange", "with TTA")}
    for name, (colour, label) in kinds.items():
        lines, runs = result["budgets"], result["runs"]
        budgets, means = [line["budget"] for line in lines], [100 * line[name]["mean"] for line in lines]
        axes.plot(budgets, means, "-", color=colour, label=label)
        axes.plot([run["budget"] for run in runs], [100 * run[name] for run in runs], "o", color=colour, alpha=0.6)
        if name == "test_accuracy":
            for budget, mean in zip(budgets, means, strict=True):
                axes.annotate(f"{mean:.2f}", (budget, mean), (6, -14), textcoords="offset points", color=colour)
    axes.set(
        xlabel="budget: fraction of the training set drawn in each epoch",
        ylabel="test accuracy at the last epoch (%)",
        title=f"CIFAR-10, default configuration, {len(result['runs'])} runs",
        xlim=(0, 1.1),
    )
    axes.margins(y=0.1)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
