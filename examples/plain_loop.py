"""A plain torch loop that follows scores, in one process or in several, and goes on in the middle of an epoch.

python examples/plain_loop.py data/cifar10/train.beton     # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/plain_loop.py data/cifar10/train.beton
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--out", type=Path, default=Path("runs/plain_loop"))
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch_size", type=int, default=128, help="of all processes together")
parser.add_argument("--save_every", type=int, default=100, help="batches")
args = parser.parse_args()

ranks = int(os.environ.get("WORLD_SIZE", "1"))
if ranks > 1:
    dist.init_process_group("gloo")
rank = dist.get_rank() if ranks > 1 else 0

dataset = open_dataset(args.data)
table = ImportanceTable(len(dataset))
order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=args.batch_size, seed=1)
augment = Augment(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
loader = make_loader(args.data, args.batch_size // ranks, augment=augment, scheduler=order, table=table)

model = nn.Sequential(nn.Flatten(), nn.Linear(dataset[0][0].size, 10))
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
    loader.set_epoch(epoch)
    for images, labels, ids, _, _ in loader:
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
