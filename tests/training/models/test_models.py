"""The networks: shapes, parameter counts, whitening, and initial values from the generator alone."""

import copy
import shutil

import pytest
import torch
import torch.nn.functional as F

from training.models.build import NAMES, build_model, features_of, parameter_groups
from training.models.mirror import MirrorConv2d, side_by_side, stacked
from training.models.whitening import EVEN, ODD, random_filters, whitening_filters


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_images(n=64, size=32):
    """[n, 3, size, size]: correlated along space and channels, as images are."""
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


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [0.1, 0.5, 1.0])
def test_no_network_has_the_convolution_that_corrupts_memory(name, width):
    """1x1 with a stride: torch 2.13 writes beside its memory in the weight gradient, with few channels on a CPU."""
    convolutions = [m for m in build_model(name, 10, generator=seeded(), width=width).modules() if hasattr(m, "stride")]
    assert not [m for m in convolutions if getattr(m, "kernel_size", 0) == (1, 1) and m.stride not in (1, (1, 1))]


def test_a_shortcut_equals_the_strided_convolution():
    """Values and gradients; 16 channels, where torch's own strided one is sound. Odd sizes too."""
    block = build_model("resnet8", 10, generator=seeded()).blocks[1]
    convolution = block.shortcut[0]
    for height, width in ((48, 48), (13, 17)):
        x = (
            torch.randn(4, 16, height, width, generator=seeded(1))
            .to(memory_format=torch.channels_last)
            .requires_grad_()
        )
        weight = convolution.weight.detach().requires_grad_()
        wanted = F.conv2d(x, weight, stride=2)
        wanted.square().sum().backward()
        gradients = x.grad.clone(), weight.grad.clone()
        x.grad, convolution.weight.grad = None, None
        got = convolution(x[:, :, :: block.stride, :: block.stride])
        got.square().sum().backward()
        torch.testing.assert_close(got, wanted)
        torch.testing.assert_close((x.grad, convolution.weight.grad), gradients, rtol=1e-4, atol=1e-4)


def test_resnet_starts_from_pytorchs_default_distribution():
    weight = build_model("resnet18", 10, generator=seeded()).blocks[0].conv2.weight
    bound = (64 * 9) ** -0.5
    assert weight.abs().max() <= bound
    torch.testing.assert_close(weight.std(), torch.tensor(bound / 3**0.5), rtol=0.02, atol=0)


def test_whitened_patches_have_the_identity_as_second_moment():
    images = smooth_images()
    filters = whitening_filters(images, eps=0.0)
    both = torch.cat([images, images.flip(3)])
    responses = torch.nn.functional.conv2d(both.double(), filters.double()).transpose(0, 1).flatten(1)
    second_moment = responses @ responses.T / responses.shape[1]
    torch.testing.assert_close(second_moment, torch.eye(EVEN + ODD).double(), rtol=0, atol=1e-3)


def test_grey_images_leave_no_filter_without_a_signal():
    grey = smooth_images().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    filters = whitening_filters(grey)
    assert (torch.nn.functional.conv2d(grey, filters).std((0, 2, 3)) > 0.5).all()
    assert torch.equal(filters[0], filters[2])


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_grey_images(name):
    model = build_model(name, 7, generator=seeded(), width=0.25, channels=1)
    assert model(torch.randn(3, 1, 20, 27, generator=seeded())).shape == (3, 7)
    of_rgb = build_model(name, 7, generator=seeded(), width=0.25)
    shapes = [p.shape for p in model.parameters()][1:]
    assert shapes == [p.shape for p in of_rgb.parameters()][1:], "they differ in the first layer only"


def test_filters_of_grey_images_are_those_of_their_rgb_copies():
    grey = smooth_images().mean(1, keepdim=True)
    filters, of_rgb = whitening_filters(grey), whitening_filters(grey.expand(-1, 3, -1, -1))
    assert filters.shape == (EVEN + ODD, 1, 2, 2)
    answers = (F.conv2d(images, found) for images, found in ((grey, filters), (grey.expand(-1, 3, -1, -1), of_rgb)))
    mine, theirs = (answer.permute(1, 0, 2, 3).flatten(1) for answer in answers)
    for row, other in zip(mine, theirs, strict=True):
        assert abs(torch.corrcoef(torch.stack((row, other)))[0, 1]) > 0.999
    orthonormal = random_filters(seeded(), channels=1).flatten(1)
    torch.testing.assert_close(orthonormal[:2] @ orthonormal[:2].T, torch.eye(2))


def test_a_constant_ground_leaves_no_channel_still():
    """Strokes on black, as digits: a channel that is largest on the ground is constant behind three maxima."""
    images, rows = torch.full((64, 1, 28, 28), -0.4), torch.randint(6, 20, (64,), generator=seeded())
    for image, row in zip(images, rows.tolist(), strict=True):
        image[:, row : row + 2, 6:22] = 2.8
        image[:, 6:22, 26 - row : 28 - row] = 2.8
    model = build_model("rebarnet", 10, generator=seeded(), width=0.25, channels=1, whitening_images=images)
    F.cross_entropy(model(images), rows % 10).backward()
    assert max(p.grad.norm().item() for p in model.parameters() if p.requires_grad) < 1e3
    first = next(module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d))
    assert first.num_batches_tracked == 1, "looking at the images leaves the statistics alone"


def test_lively_images_leave_the_first_filters_as_they_are():
    images = smooth_images()
    looked = build_model("rebarnet", 10, generator=seeded(), whitening_images=images)
    plain = build_model("rebarnet", 10, generator=seeded())
    for (name, mine), theirs in zip(looked.named_parameters(), plain.parameters(), strict=True):
        assert name == "stem.weight" or torch.equal(mine, theirs)


@pytest.mark.parametrize("filters", [whitening_filters(smooth_images()), random_filters(seeded())])
def test_filters_are_even_and_then_odd(filters):
    torch.testing.assert_close(filters.flip(3), torch.cat([filters[:EVEN], -filters[EVEN:]]))


def test_whitening_is_frozen_and_both_signs_are_kept():
    images = smooth_images()
    model = build_model("rebarnet", 10, generator=seeded(), whitening_images=images)
    even, odd = whitening_filters(images).split((EVEN, ODD))
    assert torch.equal(model.stem.weight, torch.cat([even, -even, odd, even, -even, -odd]))
    assert not model.stem.weight.requires_grad


def test_first_channels_of_a_new_group_pass_through():
    first, second, _ = build_model("rebarnet", 10, generator=seeded()).groups
    for conv, channels, count in ((first.conv1, 32, 16), (first.conv2, 64, 32), (second.conv1, 64, 32)):
        x = torch.randn(2, channels, 8, 8, generator=seeded())
        torch.testing.assert_close(conv(x)[:, :count], x[:, :count])


def test_a_mirror_convolution_commutes_with_mirroring():
    conv = MirrorConv2d(6, 8)
    x = torch.randn(2, 6, 6, 7, generator=seeded())
    ahead, behind = conv(x), conv(x.flip(3).roll(3, 1))
    torch.testing.assert_close(behind, ahead.flip(3).roll(4, 1))
    assert not torch.allclose(behind[:, :4], ahead[:, :4].flip(3)), "the halves must not be the same channels"


def test_halves_side_by_side_and_back():
    x = torch.arange(2 * 6 * 2 * 3.0).reshape(2, 6, 2, 3).contiguous(memory_format=torch.channels_last)
    wide = side_by_side(x)
    assert wide.shape == (2, 3, 2, 6)
    assert wide.data_ptr() == x.data_ptr()
    values = {c: {*x[0, c].flatten().tolist(), *x[0, 3 + c].flatten().tolist()} for c in range(3)}
    assert all({*wide[0, c].flatten().tolist()} == values[c] for c in range(3))
    assert torch.equal(stacked(wide), x)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 24), (32, 32), (20, 40)])
def test_rebarnet_does_not_tell_an_image_from_its_mirror_image(height, width):
    images = smooth_images()
    model = build_model("rebarnet", 10, generator=seeded(), width=0.25, whitening_images=images)
    x = torch.randn(4, 3, height, width, generator=seeded()).to(memory_format=torch.channels_last)
    model(x)  # statistics that are not those of the beginning
    for mode in (model.train(), model.eval()):
        torch.testing.assert_close(mode(x.flip(3)), mode(x), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(mode(x.flip(2)), mode(x), rtol=1e-2)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on a CPU")
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_backward_pass_finds_the_maxima():
    """In bf16 it computes activations anew, to other bits than those of which the maximum was taken."""
    eager = build_model("rebarnet", 10, generator=seeded(), width=0.125, whitening_images=smooth_images())
    x, gradients = torch.randn(16, 3, 16, 16, generator=seeded()).to(memory_format=torch.channels_last), []
    for model in (eager, torch.compile(copy.deepcopy(eager))):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(x)
        F.cross_entropy(logits.float(), torch.arange(16) % 10).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]))
    torch.compiler.reset()
    assert F.cosine_similarity(*gradients, dim=0) > 0.9


def test_every_trainable_parameter_is_in_one_group():
    model = build_model("rebarnet", 10, generator=seeded())
    groups = parameter_groups(model)
    listed = [id(p) for group in groups.values() for p in group]
    assert sorted(listed) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert [len(groups[kind]) for kind in ("filters", "biases", "head")] == [9, 9, 1]
    assert all(p.ndim == 1 for p in groups["biases"])


@pytest.mark.parametrize("name", NAMES)
def test_features_are_what_the_logits_are_made_of_until_the_block_ends_in_an_error_too(name):
    model, images = build_model(name, 10, generator=seeded(), width=0.25).eval(), torch.zeros(2, 3, 16, 16)
    before = len(model.head._forward_pre_hooks)
    with features_of(model) as latest:
        logits = model(images)
    assert torch.equal(logits, model.head(latest["features"]) * getattr(model, "logit_scale", 1))
    with pytest.raises(RuntimeError), features_of(model):
        model(torch.zeros(2, 5, 16, 16))
    assert len(model.head._forward_pre_hooks) == before


def test_a_narrow_rebarnet_has_channels():
    model = build_model("rebarnet", 10, generator=seeded(), width=1e-3)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


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
        whitening_filters(torch.zeros(4, 2, 8, 8))
