"""Several processes that share one order: each rank takes its part of one plan, and their scores are merged.

torchrun --nproc_per_node 2 examples/ddp.py data/cifar10/train.beton
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jsonargparse import auto_cli
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from rebar_loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores

GLOBAL_BATCH = 100


def main(path: str, epochs: int = 3) -> None:
    """Train on several ranks, which torchrun starts; `path` is a file of raw images."""
    if not dist.is_torchelastic_launched():
        raise SystemExit("start it with torchrun, as in torchrun --nproc_per_node 2 examples/ddp.py PATH")
    dist.init_process_group("gloo")
    dataset = open_dataset(path)
    num_classes = int(dataset.labels.max()) + 1
    order = IndexScheduler(dataset.num_samples, "p-sgd", budget=0.3, seed=1, batch_size=GLOBAL_BATCH)
    table = ImportanceTable(dataset.num_samples)
    # The loader gives each rank its part of the plan, and all ranks draw the next plan from all scores.
    augment = Augment(crop_padding=4, flip=True, mean=(0.5,) * 3, std=(0.25,) * 3)
    loader = make_loader(
        path, GLOBAL_BATCH // dist.get_world_size(), augment=augment, scheduler=order, table=table, num_threads=1
    )
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(512, num_classes)
    )
    network = DistributedDataParallel(model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for epoch in range(epochs):
        mine = 0
        for images, labels, ids, _, _ in loader:
            logits = network(images)
            optimizer.zero_grad()
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            table.record(ids, scores(logits, labels))
            mine += len(ids)
        visits = table.snapshot().visits  # all ranks call it together
        line = f"epoch {epoch}, rank {dist.get_rank()}: {mine} images here, {visits.sum():.0f} visits of all ranks\n"
        print(line, end="")  # in one piece, whatever the other ranks print
    dist.destroy_process_group()


if __name__ == "__main__":
    auto_cli(main)
