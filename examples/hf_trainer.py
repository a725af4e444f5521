"""transformers' Trainer: a sampler in place of its own, scores from its loss, both saved with its checkpoints.

python examples/hf_trainer.py data/cifar10/train.beton             # a second call goes on where the first one stopped
torchrun --nproc_per_node 2 examples/hf_trainer.py data/cifar10/train.beton
"""

import argparse
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from loaders import ImportanceTable, IndexScheduler, SchedulerSampler, open_dataset, scores

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--out", type=Path, default=Path("runs/hf_trainer"))
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--batch_size", type=int, default=128, help="of all processes together")
parser.add_argument("--save_every", type=int, default=100, help="batches")
args = parser.parse_args()


class Images(Dataset):
    """One dict of tensors a sample, with its id."""

    def __init__(self, path):
        self.file = open_dataset(path)

    def __len__(self):
        return len(self.file)

    def __getitem__(self, i):
        image, label = self.file[i]
        return {"ids": i, "images": torch.tensor(image).permute(2, 0, 1) / 255, "labels": label}


class ScoredTrainer(Trainer):
    """A Trainer that records the scores of each batch, and draws by them."""

    def _get_train_sampler(self, train_dataset=None):
        return sampler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(inputs["images"])
        table.record(inputs["ids"], scores(logits, inputs["labels"]))
        return F.cross_entropy(logits, inputs["labels"])


class SaveScores(TrainerCallback):
    """Adds the order and the scores to each checkpoint; the Trainer skips the batches that are done itself."""

    def on_save(self, training, state, control, **kwargs):
        table.gather()
        if state.is_world_process_zero:
            folder = args.out / f"checkpoint-{state.global_step}"
            torch.save(
                {"sampler": sampler.state_dict(samples_done=0), "table": table.state_dict()}, folder / "scores.pt"
            )


training = TrainingArguments(
    str(args.out), num_train_epochs=args.epochs, learning_rate=0.01, save_steps=args.save_every, use_cpu=True,
    remove_unused_columns=False, dataloader_num_workers=2, report_to="none", optim="sgd"
)  # fmt: skip
training.per_device_train_batch_size = args.batch_size // training.world_size
dataset = Images(args.data)
table = ImportanceTable(len(dataset), training.device)
order = IndexScheduler(len(dataset), "p-sgd", budget=0.3, batch_size=args.batch_size, seed=1)
sampler = SchedulerSampler(order, table=table)  # no rank: the Trainer gives each process its part
model = nn.Sequential(nn.Flatten(), nn.Linear(dataset[0]["images"].numel(), 10))
last = get_last_checkpoint(str(args.out)) if args.out.exists() else None
if last:
    state = torch.load(Path(last) / "scores.pt", weights_only=True)
    sampler.load_state_dict(state["sampler"])
    table.load_state_dict(state["table"])
    if training.process_index:
        table.clear_epoch()  # process 0 has what all recorded of the running epoch
ScoredTrainer(model, training, train_dataset=dataset, callbacks=[SaveScores()]).train(resume_from_checkpoint=last)
