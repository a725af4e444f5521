"""A torch loop with torchdata's `StatefulDataLoader`: it counts what its workers prefetched, so that a resume is exact.

python examples/statefuldataloader.py data/cifar10/train.beton     # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/statefuldataloader.py data/cifar10/train.beton
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torchdata.stateful_dataloader import StatefulDataLoader

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, open_dataset, scores

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--out", type=Path, default=Path("runs/statefuldataloader"))
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch_size", type=int, default=128, help="of all processes together")
parser.add_argument("--save_every", type=int, default=100, help="batches")
parser.add_argument("--workers", type=int, default=2)
args = parser.parse_args()


class Images(torch.utils.data.Dataset):
    """(id, image, label) of each sample: your own data set, as long as it says which sample is which."""

    def __init__(self, path):
        self.file = open_dataset(path)

    def __len__(self):
        return len(self.file)

    def __getitem__(self, i):
        image, label = self.file[i]
        return i, torch.tensor(image).permute(2, 0, 1) / 255, label


ranks = int(os.environ.get("WORLD_SIZE", "1"))
if ranks > 1:
    dist.init_process_group("gloo")
rank = dist.get_rank() if ranks > 1 else 0

dataset = Images(args.data)
table = ImportanceTable(len(dataset))
order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=args.batch_size, seed=1)
sampler = SchedulerSampler(order, rank, ranks, table=table)  # nothing else shards here, so the sampler does
loader = StatefulDataLoader(dataset, args.batch_size // ranks, sampler=sampler, num_workers=args.workers)

model = nn.Sequential(nn.Flatten(), nn.Linear(dataset[0][1].numel(), 10))
model = nn.parallel.DistributedDataParallel(model) if ranks > 1 else model
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
parts, state_file = {"loader": loader, "table": table, "model": model, "optimizer": optimizer}, args.out / "state.pt"

first, step = 0, 0
if state_file.exists():
    state = torch.load(state_file, weights_only=True)
    first, step = state.pop("epoch"), state.pop("step")
    for name, part in parts.items():
        part.load_state_dict(state[name])
    if rank:
        table.clear_epoch()  # rank 0 has what all ranks recorded of the running epoch

for epoch in range(first, args.epochs):
    sampler.set_epoch(epoch)
    for ids, images, labels in loader:
        logits = model(images)
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
        table.record(ids, scores(logits, labels))
        step += 1
        if step % args.save_every == 0:
            table.gather()
            if rank == 0:
                args.out.mkdir(parents=True, exist_ok=True)
                torch.save({"epoch": epoch, "step": step, **{k: v.state_dict() for k, v in parts.items()}}, state_file)
