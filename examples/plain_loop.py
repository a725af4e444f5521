"""A plain torch loop that follows scores, in one process or in several, and goes on in the middle of an epoch.

python examples/plain_loop.py data/cifar10/train.beton     # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/plain_loop.py data/cifar10/train.beton
"""

import os
from pathlib import Path

import torch
import torch.distributed as dist
from jsonargparse import auto_cli
from torch import nn
from torch.nn import functional as F

from loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores


def main(data: str, out: Path = Path("runs/plain_loop"), epochs: int = 3, batch_size: int = 128, save_every: int = 100):
    """Train; `batch_size` is of all processes together, and `save_every` counts batches."""
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if ranks > 1:
        dist.init_process_group("gloo")
    dataset = open_dataset(data)
    table = ImportanceTable(len(dataset))
    order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=batch_size, seed=1)
    augment = Augment(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    loader = make_loader(data, batch_size // ranks, augment=augment, scheduler=order, table=table)

    model = nn.Sequential(nn.Flatten(), nn.Linear(dataset[0][0].size, 10))
    model = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    parts = {"loader": loader, "table": table, "model": model, "optimizer": optimizer}
    first, step, state_file = 0, 0, out / "state.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        first, step = state.pop("epoch"), state.pop("step")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        if rank:
            table.clear_epoch()  # rank 0 has what all ranks recorded of the running epoch
    out.mkdir(parents=True, exist_ok=True)

    for epoch in range(first, epochs):
        loader.set_epoch(epoch)
        for images, labels, ids, _, _ in loader:
            logits = model(images)
            F.cross_entropy(logits, labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            table.record(ids, scores(logits, labels))
            step += 1
            if step % save_every == 0:
                table.gather()
                if rank == 0:
                    states = {name: part.state_dict() for name, part in parts.items()}
                    torch.save({"epoch": epoch, "step": step, **states}, state_file)


if __name__ == "__main__":
    auto_cli(main)
