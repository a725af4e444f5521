"""Settings: precedence, and one clear sentence for each mistake."""

import dataclasses
import os
from pathlib import Path

import pytest
import yaml

from loaders import Augment, ColorJitter, RandomErasing
from training.arguments import make_config, parse_args
from training.config import FIELDS, GROUPS, Config
from training.data.augmentation import augment_simply
from training.machine.commands import command
from training.methods.base import NoOptions

CONFIGS = Path(__file__).parents[2] / "configs"


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_then_file_then_command_line(tmp_path):
    file = write(tmp_path / "a.yaml", "budget: 0.2\nlr: 1e-3\nmean: [0.1, 0.2, 0.3]\n")
    config, resume = parse_args(["--lr", "0.5", "--config", file])
    assert (config.budget, config.lr, config.mean, config.seed, resume) == (0.2, 0.5, (0.1, 0.2, 0.3), 0, None)
    assert parse_args(["--config", file])[0].lr == 1e-3
    assert parse_args([])[0] == make_config({}) == Config(options=NoOptions())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--budget", "0"], "budget must be above 0 and at most 1, got 0: 0.3 trains on 30 % per epoch"),
        (["--budget", "1.5"], "budget must be above 0 and at most 1, got 1.5"),
        (["--budget", "-0.1"], "budget must be above 0 and at most 1, got -0.1"),
        (["--budget", "lots"], "\"budget\": Expected a <class 'float'>. Got value: lots"),
        (["--budget", "0", "--budget_unit", "seconds"], "budget in seconds must be above 0, got 0"),
        (["--budget", "2", "--budget_unit", "flops"], "budget must be above 0 and at most 1, got 2"),
        (["--epoch_fraction", "0.5"], "with samples the budget is that fraction"),
        (["--epoch_fraction", "2", "--budget_unit", "epochs"], "epoch_fraction must be above 0 and at most 1, got 2"),
        (["--budget_unit", "days"], '"budget_unit": Expected a typing.Literal'),
        (["--clean_fraction", "1"], "clean_fraction must be at least 0 and below 1, got 1"),
        (["--ema", "1"], "ema must be at least 0 and below 1, got 1"),
        (
            ["--mixer", "cutmixup"],
            "['none', 'mixup', 'cutmix', 'ricap']. Got value: cutmixup (--help",
        ),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs", "1.5"], "\"epochs\": Expected a <class 'int'>. Got value: 1.5"),
        (["--randaugment", "abc"], "[tuple[int, int], "),
        (["--batch_size", "-1"], "batch_size must not be negative, got -1"),
        (["--lr", "0"], "lr must be above 0, got 0"),
        (
            ["--erasing", "1.5"],
            "erasing is a probability, 0 to 1, and color_jitter three numbers of at least 0, got 1.5",
        ),
        (["--color_jitter", "[0.4, -1, 0]"], "three numbers of at least 0, got 0 and (0.4, -1.0, 0.0)"),
        (["--flip", "both"], "Given value: both (--help lists what is allowed)"),
        (["--momentum", "1"], "momentum must be at least 0 and below 1, got 1"),
        (["--precision", "int8"], "['auto', 'bf16', 'fp16', 'fp32']. Got value: int8"),
        (["--budgt", "0.3"], "unknown setting 'budgt': did you mean 'budget'?"),
        (["--zzz"], "unknown setting 'zzz' (--help lists what is allowed)"),
        (["--method", "sgd"], "unknown method 'sgd': allowed are uniform, scan, fixed, p-sgd"),
        (
            ["--smoothing", "0.1"],
            "and method scan does not have it: leave it out",
        ),
        (["--method=p-sgd", "--smoothing=1"], "smoothing must be at least 0 and below 1, got 1"),
        (["--method=uniform", "--design=dice"], "Got value: dice (--help lists what is allowed)"),
        (["--config", "nowhere.yaml"], "cannot read the configuration nowhere.yaml: No such file"),
        (["--resume", "nowhere"], "--resume nowhere: there is no such file or folder"),
        (["--resume"], "--resume: there is no unfinished run runs/cifar10-scan-b1-s0"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r".") as error:
        parse_args(arguments)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


BOMB = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 8)) + "lr: *a7\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("budgt: 0.3", "unknown setting 'budgt': did you mean 'budget'?"),
        ("zzz: 1", "unknown setting 'zzz' (--help lists what is allowed)"),
        ("budget: 2", "budget must be above 0 and at most 1, got 2"),
        ("lr: fast", "\"lr\": Expected a <class 'float'>. Got value: fast"),
        ("smoothing: 0.1", "method scan does not have it: leave it out"),
        ("- 1\n- 2", "must hold `key: value` lines, got a list"),
        ("lr: [", "is not valid YAML"),
        ("lr: " + "[" * 9999, "is not valid YAML"),
        ("mean: &m [0.5, 0.5, 0.5]\nstd: *m", "has an alias (*name), which settings may not have: write the value out"),
        (BOMB, "has an alias"),
        ("# " + "x" * 100_000, "has more than 65,536 bytes"),
        ("lr: " + "x" * 50_000, "Got value: xxx"),
        ("x" * 50_000 + ": 3", "is not valid YAML"),
        ("x" * 500 + ": 3", "unknown setting"),
        ("method: " + "x" * 50_000, "unknown method"),
        ("mixer: " + "x" * 50_000, "Got value: xxx"),
        ("seed: " + "9" * 50_000, "a.yaml"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, sentence):
    file = write(tmp_path / "a.yaml", text)
    for arguments in (["--config", file], [f"--config={file}"]):
        with pytest.raises(ValueError, match=r".") as error:
            parse_args(arguments)
        assert sentence in str(error.value)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 2000


OWN = "mine.py:by loss"


@pytest.mark.parametrize(
    "arguments", [["--resume", "run"], ["--out", "run", "--resume"], ["--config", "run/config.yaml"]]
)
def test_a_file_of_settings_cannot_name_the_code_that_runs(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "config.yaml", yaml.safe_dump({"method": OWN, "smoothing": 0.25}))
    with pytest.raises(ValueError, match="name a Python file to run") as error:
        parse_args(arguments)
    assert str(error.value).endswith(f"as in: {command('train', *arguments, '--method', OWN)}")
    for repeated in (["--method", OWN], [f"--method={OWN}"]):
        config, _ = parse_args([*arguments, *repeated])
        assert (config.method, config.options.smoothing) == (OWN, 0.25)
    assert parse_args([*arguments, "--method", "p-sgd"])[0].method == "p-sgd"
    write(tmp_path / "run" / "config.yaml", yaml.safe_dump({"method": "\x1b[2J\n" + "x" * 9999 + ":f"}))
    with pytest.raises(ValueError, match="name a Python file to run") as error:
        parse_args(arguments)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 2000


def test_help_names_every_setting(capsys):
    with pytest.raises(SystemExit) as end:
        parse_args(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in (*FIELDS, "config", "resume"))
    assert "fraction of the training set that one epoch may use" in text


def test_help_shows_the_settings_in_groups_and_the_options_of_the_method_alone(capsys):
    texts = {}
    for method in ("scan", "p-sgd", "infobatch"):
        with pytest.raises(SystemExit):
            parse_args(["--method", method, "--help"])
        texts[method] = capsys.readouterr().out
    for group in GROUPS:
        assert f"\n{group.__doc__.splitlines()[0]}:\n" in texts["scan"]
    assert [method for method, text in texts.items() if "--smoothing" in text] == ["p-sgd"]
    assert [method for method, text in texts.items() if "--prune_ratio" in text] == ["infobatch"]


def test_settings_survive_the_way_to_a_file_and_back(tmp_path):
    config = make_config({"method": "p-sgd", "smoothing": 0.25, "size_schedule": [16, 24], "mean": [0.1, 0.2, 0.3]})
    assert (config.options.smoothing, config.size_schedule) == (0.25, (16, 24))
    assert make_config(config.as_dict()) == config
    file = write(tmp_path / "a.yaml", yaml.safe_dump(config.as_dict()))
    assert parse_args(["--config", file])[0] == config


def test_a_method_of_the_command_line_decides_which_options_a_file_may_have(tmp_path):
    file = write(tmp_path / "a.yaml", "method: scan\nsmoothing: 0.25\n")
    config, _ = parse_args(["--config", file, "--method", "c-sgd"])
    assert (config.method, config.options.smoothing) == ("c-sgd", 0.25)


def test_what_happens_to_training_images(tmp_path):
    file = write(tmp_path / "a.yaml", "flip: alternating\ncolor_jitter: [0.4, 0.3, 0.2]\n")
    config, _ = parse_args(["--config", file, "--vertical_flip", "true", "--erasing", "0.25", "--cutout", "4"])
    plain = Augment(mean=(0.5,) * 3)
    assert augment_simply(config, plain) == Augment(
        color_jitter=ColorJitter(0.4, 0.3, 0.2),
        crop_padding=2,
        pad_mode="reflect",
        flip="alternating",
        vertical_flip=True,
        cutout=4,
        erasing=RandomErasing(0.25),
        mean=(0.5,) * 3,
    )
    unflipped, _ = parse_args(["--flip", "false"])
    assert augment_simply(unflipped, plain) == Augment(crop_padding=2, pad_mode="reflect", mean=(0.5,) * 3)


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_published_configs_are_valid(file):
    config, _ = parse_args(["--config", str(file)])
    assert isinstance(config, Config)


def test_the_reference_protocol():
    config, _ = parse_args(["--config", str(CONFIGS / "arazo_cifar10.yaml"), "--budget", "0.3", "--method", "p-sgd"])
    assert (config.model, config.batch_size, config.epochs, config.optimizer) == ("resnet18", 128, 200, "sgd")
    assert (config.lr, config.final_lr, config.momentum, config.nesterov) == (0.1, 1e-6, 0.9, False)
    assert (config.weight_decay, config.label_smoothing, config.compat) == (1e-4, 0.0, "arazo")
    assert (config.crop_padding, config.pad_mode, config.flip, config.size_schedule) == (4, "zero", True, ())


def test_resume_may_repeat_a_setting_that_only_makes_sense_in_its_run(tmp_path):
    config = Config(budget=600, budget_unit="seconds")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.as_dict()))
    assert parse_args(["--budget", "600", "--resume", str(tmp_path)])[0].budget == 600


def test_resume_takes_the_settings_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = make_config({"budget": 0.3, "epochs": 7, "lr": 0.02})
    for number, name in enumerate([config.run_name, config.run_name + "-2", config.run_name + "1"]):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(yaml.safe_dump({**config.as_dict(), "epochs": 7 + number}))
        os.utime(folder / "config.yaml", (1000 + number, 1000 + number))
    first = tmp_path / "runs" / config.run_name

    resumed, checkpoint = parse_args(["--resume", str(first)])
    assert checkpoint == first / "checkpoint.pt"
    assert resumed == dataclasses.replace(config, out=str(first))
    assert parse_args(["--out", str(first), "--resume"]) == (resumed, checkpoint)
    newest, _ = parse_args(["--budget", "0.3", "--resume"])
    assert newest.epochs == 8, "the newest of the same name, not that of seed 01"
    (first.with_name(first.name + "-2") / "summary.json").touch()
    assert parse_args(["--budget", "0.3", "--resume"])[0].epochs == 7, "a finished run is not continued"
    with pytest.raises(ValueError, match="leave --out out"):
        parse_args(["--resume", str(first), "--out", "elsewhere"])


def test_options_may_be_written_with_dashes(tmp_path):
    config, _ = parse_args(["--budget-unit", "flops", "--batch-size=50", f"--out={tmp_path}/a-b", "--method", "p-sgd"])
    assert (config.budget_unit, config.batch_size, config.method) == ("flops", 50, "p-sgd")
    assert config.out == f"{tmp_path}/a-b"
