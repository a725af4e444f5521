"""Importance sampling in a loop of your own: a table takes the scores of each step, the scheduler draws by them.

python examples/importance_loop.py data/cifar10/train.beton
"""

import torch
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import nn

from rebar_loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores


def main(path: str, epochs: int = 4) -> None:
    """Train on three tenths of the images in each epoch, drawn by their errors; `path` is a file of raw images."""
    dataset = open_dataset(path)
    num_samples, num_classes = dataset.num_samples, int(dataset.labels.max()) + 1
    augment = Augment(crop_padding=4, flip=True, mean=(0.49, 0.48, 0.45), std=(0.25, 0.24, 0.26))
    table = ImportanceTable(num_samples)  # the scores of each sample, by its id
    order = IndexScheduler(num_samples, "p-sgd", budget=0.3, seed=1)  # the more wrong, the more often
    loader = make_loader(path, 100, augment=augment, scheduler=order, table=table)

    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 64, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(1024, num_classes),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(epochs):
        for images, labels, ids, _, _ in loader:  # each `for` is a new epoch, drawn by what the table knows
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            table.record(ids, scores(logits, labels))
        visits = table.snapshot().visits
        print(f"epoch {epoch}: loss {loss:.3f}, {(visits > 0).sum()} seen, at most {visits.max():.0f} visits")


if __name__ == "__main__":
    auto_cli(main)
