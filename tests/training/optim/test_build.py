"""Which parameter is stepped by what."""

import pytest
import torch

from training.config import Config
from training.models.build import build_model
from training.optim.build import build_optimizers
from training.optim.muon import Muon


@pytest.mark.parametrize("name", ["rebarnet", "resnet8"])
@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_every_trainable_parameter_is_stepped_once(name, optimizer):
    model = build_model(name, 10, generator=torch.Generator().manual_seed(0), width=0.25)
    optimizers = build_optimizers(model, Config(optimizer=optimizer))
    stepped = [id(p) for one in optimizers for group in one.param_groups for p in group["params"]]
    assert sorted(stepped) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_muon_takes_the_filters_and_each_kind_has_its_rate():
    model = build_model("rebarnet", 10, generator=torch.Generator().manual_seed(0), width=0.25)
    config = Config()
    muon, sgd = build_optimizers(model, config)
    assert isinstance(muon, Muon)
    assert {p.ndim for p in muon.param_groups[0]["params"]} == {4}
    assert [group["base_lr"] for group in sgd.param_groups] == [config.lr, config.head_lr]


def test_the_reference_is_one_group_of_plain_momentum():
    model = build_model("resnet8", 10, generator=torch.Generator().manual_seed(0))
    config = Config(optimizer="sgd", lr=0.1, momentum=0.9, nesterov=False, weight_decay=1e-4)
    (sgd,) = build_optimizers(model, config)
    (group,) = sgd.param_groups
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.1, 0.9, False, 1e-4)
    assert len(group["params"]) == len(list(model.parameters())), "weight decay on everything"
