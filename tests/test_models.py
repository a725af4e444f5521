"""The networks: shapes, parameter counts, whitening, and initial values from the generator alone."""

import pytest
import torch

from training.models import NAMES, build_model, parameter_groups
from training.whitening import whitening_filters


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=64, size=32):
    """[n, 3, size, size]: correlated along space and channels, as pictures are."""
    x = torch.randn(n, 1, size + 4, size + 4, generator=seeded(1)) + 0.3 * torch.randn(
        n, 3, size + 4, size + 4, generator=seeded(2)
    )
    return torch.nn.functional.avg_pool2d(x, 5, 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("height", "width", "classes"), [(16, 16, 7), (32, 32, 10), (20, 27, 100)])
def test_any_size_and_number_of_classes(name, height, width, classes):
    model = build_model(name, classes, generator=seeded(), width=0.25)
    images = torch.randn(4, 3, height, width, generator=seeded()).to(memory_format=torch.channels_last)
    logits = model(images)
    assert logits.shape == (4, classes)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize(("name", "count"), [("resnet18", 11_173_962), ("resnet8", 78_042)])
def test_parameter_counts_of_the_resnets(name, count):
    assert sum(p.numel() for p in build_model(name, 10, generator=seeded()).parameters()) == count


@pytest.mark.parametrize("name", NAMES)
def test_initial_values_come_from_the_generator_alone(name):
    before = torch.get_rng_state()
    first, again, other = (build_model(name, 10, generator=seeded(s), width=0.25).state_dict() for s in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_resnet_starts_from_pytorchs_default_distribution():
    weight = build_model("resnet18", 10, generator=seeded()).blocks[0].conv2.weight
    bound = (64 * 9) ** -0.5
    assert weight.abs().max() <= bound
    torch.testing.assert_close(weight.std(), torch.tensor(bound / 3**0.5), rtol=0.02, atol=0)


def test_whitened_patches_have_the_identity_as_second_moment():
    images = smooth_images()
    filters = whitening_filters(images, eps=0.0)
    responses = torch.nn.functional.conv2d(images.double(), filters.double()).transpose(0, 1).flatten(1)
    second_moment = responses @ responses.T / responses.shape[1]
    torch.testing.assert_close(second_moment, torch.eye(12).double(), rtol=0, atol=1e-3)


def test_whitening_is_frozen_and_both_signs_are_kept():
    images = smooth_images()
    model = build_model("rebarnet", 10, generator=seeded(), whitening_images=images)
    filters = whitening_filters(images)
    assert torch.equal(model.stem.weight, torch.cat([filters, -filters]))
    assert not model.stem.weight.requires_grad


def test_first_channels_of_a_new_group_pass_through():
    group = build_model("rebarnet", 10, generator=seeded()).groups[0]
    x = torch.randn(2, 24, 8, 8, generator=seeded())
    torch.testing.assert_close(group.conv1(x)[:, :24], x)


def test_every_trainable_parameter_is_in_one_group():
    model = build_model("rebarnet", 10, generator=seeded())
    groups = parameter_groups(model)
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert [len(groups[kind]) for kind in ("filters", "stem_bias", "biases", "head")] == [6, 1, 6, 1]
    assert all(p.ndim == 1 for p in groups["biases"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(name="vgg", num_classes=10), "the names are rebarnet"),
        (dict(name="resnet8", num_classes=0), "must be positive"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build_model(**kwargs, generator=seeded())


def test_whitening_refuses_other_shapes():
    with pytest.raises(ValueError, match="needs"):
        whitening_filters(torch.zeros(4, 1, 8, 8))
