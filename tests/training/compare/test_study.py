import itertools

import pytest

from training.compare.study import make_study, read_study

GRID = {
    "settings": {"epochs": 7, "batch_size": 50},
    "methods": {"uniform": {}, "p-sgd sharp": {"method": "p-sgd", "smoothing": 0.1}},
    "augmentations": {"standard": {}, "RICAP": {"mixer": "ricap"}},
    "budgets": [0.1, 0.3],
    "seeds": 2,
}


def test_a_grid_is_the_product_of_its_lists_one_seed_after_the_other():
    study = make_study(GRID)
    told = [(cell.config.seed, cell.config.budget, cell.augmentation, cell.method) for cell in study.cells]
    assert told == list(itertools.product((0, 1), (0.1, 0.3), ("standard", "RICAP"), ("uniform", "p-sgd sharp")))
    assert study.baselines == ("uniform",)
    sharp = study.cells[1].config
    assert (sharp.method, sharp.options.smoothing, sharp.epochs, sharp.mixer) == ("p-sgd", 0.1, 7, "none")
    assert len({cell.name for cell in study.cells}) == 16


def test_a_method_that_looks_at_no_score_is_a_baseline():
    study = make_study({**GRID, "methods": ["scan", "fixed", "random-batch", "p-sgd"]})
    assert study.baselines == ("scan", "fixed", "random-batch")


def test_later_groups_of_settings_win_and_parts_choose_their_labels():
    study = make_study(
        {
            **GRID,
            "variants": {"small": {"width": 0.5}, "long": {"epochs": 9}},
            "grids": [
                {"variants": ["small"], "budgets": [0.3]},
                {"variants": ["long"], "methods": ["uniform"], "seeds": [5], "role": "positive control"},
            ],
        }
    )
    assert len(study.cells) == 8 + 4
    last = study.cells[-1]
    assert (last.variant, last.role, last.config.seed, last.config.epochs) == ("long", "positive control", 5, 9)
    assert study.cells[0].config.width == 0.5


def test_the_name_of_a_cell_is_that_of_what_its_run_computes():
    cell = make_study(GRID).cells[0]
    renamed = make_study({**GRID, "methods": {"plain": {"method": "uniform"}}}).cells[0]
    assert renamed.name == cell.name
    at_default = make_study({**GRID, "settings": {**GRID["settings"], "momentum": 0.85}}).cells[0]
    assert at_default.name == cell.name
    other = make_study({**GRID, "settings": {**GRID["settings"], "momentum": 0.9}}).cells[0]
    assert other.name != cell.name


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"methods": {}}, "the grid is empty"),
        ({"budgets": []}, "the grid is empty"),
        ({"seeds": 0}, "the grid is empty"),
        ({"methods": ["p_sgd"]}, "'p_sgd' is no method: name one of uniform, scan"),
        ({"methods": {"mine": {"method": "psgd"}}}, "mine, standard: unknown method 'psgd'"),
        ({"methods": {"uniform": {"smoothing": 0.1}}}, "uniform, standard: smoothing is an option of p-sgd"),
        ({"settings": {"epochs": "ten"}}, "epochs"),
        ({"settings": {"epoch": 10}}, "did you mean 'epochs'"),
        ({"settings": {"budget": 0.5}}, "budget is no setting of a study: list budgets under `budgets`"),
        ({"variants": {"a": {"seed": 3}}}, "seed is no setting of a study"),
        ({"methods": {"uniform": {"out": "here"}}}, "out is no setting of a study"),
        ({"settings": [1]}, "settings must hold `key: value` lines"),
        ({"budgets": 0.3}, "budgets is a list of numbers"),
        ({"budgets": [2]}, "budget must be above 0 and at most 1, got 2"),
        ({"seeds": [-1]}, "seeds is their number, or a list"),
        ({"margin": 3}, "margin is a fraction of accuracy"),
        ({"colour": 1}, "a study has no key 'colour'"),
        ({"grids": [{"method": ["uniform"]}]}, "a part of grids has no key 'method'"),
        ({"grids": [{"methods": ["scan"]}]}, "has 'scan', which is none of uniform, p-sgd sharp"),
        ({"grids": [{"role": "control"}]}, "role is one of main, positive control, negative control"),
        ({"augmentations": {"a": {}, "b": {}}}, "two cells have the same settings"),
        ({"methods": {"own": {"method": "evil.py:run"}}}, "add --own evil.py:run"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(changes, sentence):
    with pytest.raises(ValueError, match=sentence.replace("(", r"\(")) as error:
        make_study({**GRID, **changes})
    assert "\n" not in str(error.value)


def test_a_mistake_names_the_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("methods: [nothing]\n")
    with pytest.raises(ValueError, match=r"mine\.yaml: methods: 'nothing' is no method"):
        read_study(path)
