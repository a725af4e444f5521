"""Lightning with Rebar's loader: Lightning iterates it as it is, and saves and loads its position.

python examples/lightning_module.py data/cifar10/train.beton   # a second call goes on where the first one stopped
python examples/lightning_module.py data/cifar10/train.beton --devices 2
"""

import argparse
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from loaders import Augment, ImportanceTable, IndexScheduler, make_loader, open_dataset, scores


class Model(LightningModule):
    """A linear model that records the scores of what it trains on, and saves them with its weights."""

    def __init__(self, table: ImportanceTable, num_inputs: int):
        super().__init__()
        self.table, self.layers = table, nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, 10))

    def training_step(self, batch, batch_idx):
        logits = self.layers(batch.images)
        self.table.record(batch.ids, scores(logits, batch.labels))
        return F.cross_entropy(logits, batch.labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def on_save_checkpoint(self, checkpoint):
        self.table.gather()  # to rank 0, which saves
        checkpoint["table"] = self.table.state_dict()

    def on_load_checkpoint(self, checkpoint):
        self.table.load_state_dict(checkpoint["table"])
        if self.trainer.global_rank:
            self.table.clear_epoch()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, default=Path("runs/lightning"))
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch_size", type=int, default=128, help="of all devices together")
    parser.add_argument("--save_every", type=int, default=100, help="batches")
    parser.add_argument("--devices", type=int, default=1)
    args = parser.parse_args()

    dataset = open_dataset(args.data)
    table = ImportanceTable(len(dataset))
    order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=args.batch_size, seed=1)
    augment = Augment(crop_padding=4, flip=True, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    loader = make_loader(args.data, args.batch_size // args.devices, augment=augment, scheduler=order, table=table)
    save = ModelCheckpoint(args.out, "state", every_n_train_steps=args.save_every, enable_version_counter=False)
    trainer = Trainer(
        accelerator="cpu", devices=args.devices, max_epochs=args.epochs, callbacks=[save], default_root_dir=args.out
    )
    state = args.out / "state.ckpt"
    model = Model(table, dataset[0][0].size)
    trainer.fit(model, loader, ckpt_path=state if state.exists() else None, weights_only=True)


if __name__ == "__main__":
    main()
