"""Each mistake is one sentence on stderr and the exit status 2, and leaves no half-made run."""

import json
import os
import resource
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from loaders.formats.manifest import FILE_NAME
from loaders.importance import ImportanceTable
from loaders.types import Scores
from training import checkpoint, run, setup
from training.checkpoint import check_config, other_processes
from training.config import Config
from training.machine.commands import command as shell
from training.machine.distributed import Ranks
from training.report import folder
from training.run import main


def fails(capsys, arguments: list[str]) -> str:
    """The sentence that a command line ends in."""
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def write_checkpoint(path: Path, content: dict) -> None:
    """A checkpoint with its digest, as someone could write it who knows the format."""
    path.write_bytes(checkpoint.encode(content))


@pytest.fixture(scope="module")
def stopped(quick_args, tmp_path_factory):
    """A folder that looks like a run killed after its second epoch."""
    folder = tmp_path_factory.mktemp("runs") / "stopped"
    assert main(quick_args(out=folder, epochs=2, eval_every=0)) == 0
    (folder / "summary.json").unlink()
    return folder


@pytest.fixture
def broken(stopped, tmp_path):
    """A copy of that folder, to break."""
    return shutil.copytree(stopped, tmp_path / "broken")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"budget": 0}, "budget must be above 0 and at most 1, got 0"),
        ({"budget": 1.5}, "budget must be above 0 and at most 1, got 1.5"),
        ({"method": "sgd"}, "unknown method 'sgd': allowed are uniform, scan, fixed, p-sgd"),
        ({"design": "dice"}, "Got value: dice (--help lists what is allowed)"),
        ({"batch_size": 301}, "less than one batch of 301: raise the budget or lower the batch size"),
        ({"model": "vgg"}, "model got 'vgg': the names are rebarnet, resnet18, resnet8"),
        ({"backend": "tape"}, "unknown backend 'tape'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"precision": "fp16", "device": "cpu"}, "precision fp16 needs a GPU"),
        ({"graph": "true", "device": "cpu"}, "graph needs a GPU, whose steps it launches at once, the device is cpu"),
        ({"lr": 1e30}, "training has diverged in epoch 1 (summed loss nan): lower the learning rate"),
        ({"method": "infobatch", "design": "race"}, "method infobatch does not have it: leave it out"),
        (
            {"method": "infobatch", "budget": 0.05},
            "a budget of 0.05 of the samples in each of 3 epochs does not pay for one step",
        ),
        (
            {"model": "rebarnet", "size_schedule": "[12, 32]"},
            "rebarnet needs images of at least 16 pixels a side, got 12",
        ),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_work(quick_args, tmp_path, capsys, changes, sentence):
    assert sentence in fails(capsys, quick_args(out=tmp_path / "run", **changes))
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("cifar10", "cifar`"),
        ("cifar100", "cifar --dataset cifar100`"),
        ("shapes", "shapes`"),
        ("mine", "folder IMAGES --root {folder}`"),
    ],
)
def test_missing_data_names_the_command(tmp_path, capsys, name, command):
    folder = tmp_path / name
    name, *words = command.format(folder=folder).rstrip("`").split()
    assert f"run `{shell('convert ' + name, *words)}` first" in fails(capsys, [f"--data={folder}"])


def test_data_cut_short(shapes, quick_args, tmp_path, capsys):
    data = shutil.copytree(shapes, tmp_path / "shapes")
    with open(data / "train.beton", "r+b") as file:
        file.truncate(1000)
    assert "train.beton missing or of another size" in fails(capsys, quick_args(data=data))
    (data / FILE_NAME).write_text("{")
    assert "is not valid JSON" in fails(capsys, quick_args(data=data))


def test_data_that_training_cannot_use(shapes, quick_args, tmp_path, capsys):
    """A train.beton may lie there, of other images: what counts is the manifest."""
    data = shutil.copytree(shapes, tmp_path / "shapes")
    manifest = json.loads((data / FILE_NAME).read_text())
    train, test = manifest["splits"]["train"], manifest["splits"].pop("test")
    (data / FILE_NAME).write_text(json.dumps({**manifest, "splits": {"train": train, "val": test}}))
    assert (
        "has no test split, only train, val: train with --validation 0.1 or --eval_split val, or convert images"
        in fails(capsys, quick_args(data=data))
    )
    train = {**train, "files": test["files"]}
    (data / FILE_NAME).write_text(json.dumps({**manifest, "splits": {"train": train, "test": test}}))
    assert "train split in test.beton only, and training reads train.beton" in fails(capsys, quick_args(data=data))


def test_unknown_key_in_a_file(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("budgt: 0.3\n")
    assert "unknown setting 'budgt': did you mean 'budget'?" in fails(capsys, ["--config", str(tmp_path / "a.yaml")])


def test_nan_scores_stop_the_next_plan():
    table = ImportanceTable(4)
    table.record(torch.tensor([2]), Scores(*[torch.tensor([float("nan")])] * 3))
    with pytest.raises(ValueError, match=r"scores of 1 samples are not finite \(first: sample 2\)"):
        table.snapshot()


def test_a_folder_in_use(quick_args, stopped, broken, capsys):
    assert "holds an unfinished run: continue it with --resume" in fails(capsys, quick_args(out=stopped))
    (broken / "summary.json").write_text("{}")
    assert "holds a finished run: choose another --out" in fails(capsys, quick_args(out=broken))


def test_a_run_that_works_has_its_folder_for_itself(quick_args, tmp_path, capsys, monkeypatch):
    """Neither the same --out nor --resume disturbs it, whether its folder was named or not."""
    monkeypatch.chdir(tmp_path)
    told, fit = [], run.fit

    def others_first(working, report):
        folder = report.folder
        leftover = folder / ".checkpoint.pt.1.tmp"
        leftover.touch()
        for arguments in (quick_args(out=folder), [*quick_args(out=folder), "--resume"], ["--resume", str(folder)]):
            told.append(fails(capsys, arguments))
        leftover.unlink()
        fit(working, report)

    monkeypatch.setattr(run, "fit", others_first)
    arguments = quick_args(epochs=1, eval_every=0)
    assert main([*arguments, "--out=named"]) == 0
    assert main(arguments) == 0
    assert len(told) == 6
    assert all(f" is in use by process {os.getpid()} on " in sentence for sentence in told)
    assert not list(tmp_path.rglob("*.lock"))


def test_a_mistake_leaves_no_folder_and_no_lock(quick_args, tmp_path, capsys):
    fails(capsys, quick_args(out=tmp_path / "run", backend="tape"))
    fails(capsys, [*quick_args(out=tmp_path / "run", backend="tape"), "--resume"])
    assert not (tmp_path / "run").exists()


def test_a_finished_run_without_a_checkpoint_is_not_begun_again(broken, capsys, no_network):
    (broken / "summary.json").write_text("{}")
    (broken / "checkpoint.pt").unlink()
    files = {path.name: path.read_bytes() for path in broken.iterdir()}
    assert "holds a finished run, and no checkpoint.pt to continue" in fails(capsys, ["--resume", str(broken)])
    assert files == {path.name: path.read_bytes() for path in broken.iterdir()}


def test_a_full_disk_is_told_and_leaves_no_half_checkpoint(quick_args, tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        sentence = fails(capsys, quick_args(out=tmp_path / "run"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert f"file size limit reached while writing {tmp_path / 'run' / 'checkpoint.pt'}" in sentence
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.yaml", "metrics.jsonl", "history.u8"}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "plan and scores stay the same, weights will differ by the order of float sums"),
        ({"method": "ordered-sgd"}, "the result will be another, since ordered-sgd chooses within each rank's part"),
        ({"mixer": "ricap"}, "the result will be another, since images are mixed within each rank's part of a batch"),
    ],
)
def test_other_processes_than_before_are_told(changes, told):
    content = {"processes": [2, 1], "config": {**Config().as_dict(), **changes}}
    (sentence,) = other_processes(content, Ranks())
    assert sentence.startswith(f"the checkpoint is of 2 ranks x 1 threads, this is 1 ranks x 1 threads: {told}")
    assert other_processes({**content, "processes": [1, 1]}, Ranks()) == []


def test_another_gpu_may_go_on_but_no_other_kind_of_device():
    saved = {**Config().as_dict(), "device": "cuda:1"}
    check_config(saved, Config(device="cuda"))
    with pytest.raises(ValueError, match="device was 'cuda' and is now 'cpu'"):
        check_config(saved, Config(device="cpu"))


def test_a_folder_that_cannot_be_made(quick_args, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot make the folder" in fails(capsys, quick_args(out=tmp_path / "file" / "run"))


@pytest.fixture
def no_network(monkeypatch):
    """Whatever is refused is refused before a loader or a network is made."""

    def made(*arguments, **named):
        raise AssertionError("the run was set up")

    for name in ("open_loader", "make_method", "build_model"):
        monkeypatch.setattr(setup, name, made)


def test_resume_with_other_settings_names_the_keys(stopped, capsys, no_network):
    sentence = fails(capsys, ["--resume", str(stopped), "--lr=0.5", "--seed=3"])
    assert "lr was 0.05 and is now 0.5, seed was 0 and is now 3" in sentence


def test_resume_of_a_folder_that_is_not_a_runs(stopped, tmp_path, capsys, no_network):
    for other in (tmp_path, stopped.parent):
        before = sorted(other.iterdir())
        sentence = fails(capsys, ["--resume", str(other)])
        assert "that folder is not a run's, it holds neither checkpoint.pt nor config.yaml" in sentence
        assert before == sorted(other.iterdir())


def test_resume_may_change_what_does_not_matter(broken, capsys):
    assert main(["--resume", str(broken), "--eval_every=1", "--tta=true"]) == 0


def test_resume_on_other_data(stopped, shapes, tmp_path, capsys, no_network):
    data = shutil.copytree(shapes, tmp_path / "shapes")
    manifest = data / FILE_NAME
    text = manifest.read_text()
    digest = text.split('"labels_sha256": "')[1][:64]
    manifest.write_text(text.replace(digest, "0" * 64))
    assert "made on other data" in fails(capsys, [f"--data={data}", "--resume", str(stopped)])


@pytest.mark.parametrize("size", [0, 100, 5000, -1])
def test_a_checkpoint_cut_short(broken, capsys, size):
    whole = (broken / "checkpoint.pt").read_bytes()
    (broken / "checkpoint.pt").write_bytes(whole[:size])
    assert "cannot be read as a checkpoint (cut short, damaged" in fails(capsys, ["--resume", str(broken)])


def test_no_flipped_bit_of_a_checkpoint_is_believed(stopped):
    """At random places of the file, and everywhere in its end with the digest."""
    path = stopped / "checkpoint.pt"
    whole = path.read_bytes()
    end = 8 * (len(whole) - checkpoint.END_BYTES - checkpoint.DIGEST_BYTES)
    flips = [*np.random.default_rng(0).integers(0, end, 300).tolist(), *range(end, 8 * len(whole))]
    for bit in flips:
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match="cannot be read as a checkpoint"):
            checkpoint.load(path, bytes(flipped))
    assert checkpoint.load(path)["epoch"] == 2


def test_a_checkpoint_without_its_digest(broken, capsys):
    content = torch.load(broken / "checkpoint.pt", weights_only=True)
    torch.save(content, broken / "checkpoint.pt")
    assert "cannot be read as a checkpoint" in fails(capsys, ["--resume", str(broken)])


def test_a_foreign_checkpoint(broken, capsys):
    path = broken / "checkpoint.pt"
    torch.save({"state_dict": {}}, path)
    assert "is not a checkpoint of this program" in fails(capsys, ["--resume", str(path)])
    torch.save(torch.nn.Linear(2, 2), path)  # a pickled object: never run
    assert "cannot be read as a checkpoint" in fails(capsys, ["--resume", str(path)])
    write_checkpoint(path, {"format": checkpoint.FORMAT, "version": 99})
    assert "has version 99, this program reads 8: start a new run" in fails(capsys, ["--resume", str(path)])


def test_a_checkpoint_of_the_release_before(broken, capsys):
    content = torch.load(broken / "checkpoint.pt", weights_only=True)
    write_checkpoint(broken / "checkpoint.pt", {**content, "version": 7})
    sentence = fails(capsys, ["--resume", str(broken)])
    assert "has version 7, this program reads 8: start a new run, or continue it with the release" in sentence


def test_a_checkpoint_that_lacks_a_part(broken, capsys):
    content = torch.load(broken / "checkpoint.pt", weights_only=True)
    del content["model"]["head.bias"]
    write_checkpoint(broken / "checkpoint.pt", content)
    assert "does not fit this program" in fails(capsys, ["--resume", str(broken)])


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("config", None, "the checkpoint: config is None, needed: an object"),
        ("epoch", "2", "epoch is '2', needed: an integer"),
        ("batch", -1, "batch is negative"),
        ("optimizers", [], "does not fit this program"),
        ("loss_sum", torch.zeros(3), r"loss_sum is float32 [3], needed: float64 []"),
        ("table", {}, "table has other keys than this run's"),
        ("version", torch.zeros(1).expand(1 << 40), "has version Tensor, this program reads 8"),
    ],
)
def test_a_checkpoint_of_other_values(broken, capsys, part, value, sentence):
    content = torch.load(broken / "checkpoint.pt", weights_only=True)
    write_checkpoint(broken / "checkpoint.pt", {**content, part: value})
    assert sentence in fails(capsys, ["--resume", str(broken)])


def test_a_momentum_of_another_shape(broken, capsys):
    """torch's optimisers take it over, and fail in the next step."""
    content = torch.load(broken / "checkpoint.pt", weights_only=True)
    content["optimizers"][0]["state"][0]["momentum_buffer"] = torch.zeros(7)
    write_checkpoint(broken / "checkpoint.pt", content)
    assert "state[0].momentum_buffer is float32 [7], needed: float32 [" in fails(capsys, ["--resume", str(broken)])


def test_a_checkpoint_whose_records_are_compressed(broken, capsys):
    """torch sets memory aside as a record says; it writes none that is compressed."""
    with zipfile.ZipFile(broken / "checkpoint.pt") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(broken / "checkpoint.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    assert "cannot be read as a checkpoint" in fails(capsys, ["--resume", str(broken)])


@pytest.mark.parametrize("line", ["5", "[]", '{"epoch": "1"}', "{", "\xff", "[" * 9999])
def test_a_row_that_is_none(broken, capsys, line):
    rows = (broken / "metrics.jsonl").read_text()
    (broken / "metrics.jsonl").write_text(f"{line}\n{rows}")
    sentence = fails(capsys, ["--resume", str(broken)])
    assert "metrics.jsonl, line 1" in sentence
    assert "remove that line" in sentence


def test_a_row_without_what_the_curve_needs(broken, capsys):
    rows = (broken / "metrics.jsonl").read_text()
    (broken / "metrics.jsonl").write_text(rows.replace('"samples": 300', '"samples": null', 1))
    assert "metrics.jsonl, line 1: samples is None, needed: a finite number" in fails(capsys, ["--resume", str(broken)])


@pytest.mark.parametrize("text", ["", "{}", "5", "[]", '{"visits": 3}', "{" * 9999])
def test_a_summary_that_is_none(broken, capsys, text):
    (broken / "summary.json").write_text(text)
    sentence = fails(capsys, ["--resume", str(broken)])
    assert "summary.json" in sentence
    assert "delete it, and --resume makes it again" in sentence


def test_a_summary_whose_method_is_no_name(quick_args, tmp_path, capsys):
    assert main(quick_args(out=tmp_path, epochs=1, eval_every=0)) == 0
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "method": float("nan")}))
    assert "summary.json is not whole (ValueError: method is nan" in fails(capsys, ["--resume", str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[" * 60_000, "c.yaml is not valid YAML: it is nested too deeply"),
        ("lr: fast\n", 'c.yaml: Parser key "lr"'),
        ("lr: null\n", "c.yaml: lr is null, needed: a value"),
        ("learning_rate: 1\n", "c.yaml: unknown setting 'learning_rate'"),
        ("budget: 7\n", "budget must be above 0 and at most 1, got 7"),
        ("method: sgd\n", "unknown method 'sgd'"),
    ],
)
def test_a_file_of_settings_is_named(tmp_path, capsys, text, sentence):
    (tmp_path / "c.yaml").write_text(text)
    told = fails(capsys, ["--config", str(tmp_path / "c.yaml")])
    assert sentence in told
    assert "c.yaml" in told


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("weights = undefined\n", "policy.py, line 1: NameError: name 'undefined' is not defined"),
        ("def policy(snapshot):\n    return snapshot.nothing\n", "policy.py, line 2: AttributeError: "),
        ("def policy(snapshot)\n", "policy.py, line 1: expected ':'"),
        ("import nothing_of_this_name\n", "policy.py, line 1: ModuleNotFoundError"),
    ],
)
def test_a_mistake_in_a_policy_of_ones_own(quick_args, tmp_path, capsys, program, sentence):
    (tmp_path / "policy.py").write_text(program)
    method = f"{tmp_path / 'policy.py'}:policy"
    assert sentence in fails(capsys, quick_args(out=tmp_path / "run", method=method))


def test_a_full_disk_at_a_row(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"could not add a row to .*metrics\.jsonl \(File too large\): free some"):
            folder.append_row(tmp_path, {"epoch": 1, "samples": 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_rows_after_the_checkpoint_are_cut(broken, capsys):
    with open(broken / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "samples": 900}\n{"epoch": 4, "sam')
    assert main(["--resume", str(broken)]) == 0
    assert len((broken / "metrics.jsonl").read_text().splitlines()) == 2
