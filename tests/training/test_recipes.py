"""Recipe files: they load, their networks are there, their numbers are the papers'."""

from pathlib import Path

import pytest
import torch

from matter_sdk.training import networks, recipes
from matter_sdk.training.recipes import Recipe, RecipeError

ALL = [recipes.load(name) for name in recipes.names()]


@pytest.mark.parametrize("recipe", ALL, ids=[recipe.name for recipe in ALL])
def test_every_recipe_has_a_network_that_takes_its_sizes(recipe: Recipe) -> None:
    with torch.device("meta"):
        network = networks.create(
            recipe.network,
            backbone=recipe.backbone or None,
            rosta=recipe.rosta or None,
            without=recipe.without,
        ).eval()
    height, width = recipe.sizes[0]
    images = [
        torch.empty(1, count, height, width, device="meta")
        for count in networks.inputs(network).values()
    ]
    with torch.inference_mode():
        assert network(*images)["alpha"].shape == (1, 1, height, width)
    assert all(side % network.size_multiple == 0 for size in recipe.sizes for side in size)
    assert recipe.summary
    assert recipe.data or recipe.source == "procedural"


def _numbers(name: str) -> tuple[object, ...]:
    recipe = recipes.load(name)
    return recipe.crops, recipe.sizes, recipe.batch, recipe.optimiser, recipe.rate, recipe.epochs


@pytest.mark.parametrize(
    ("name", "batch"),
    [
        ("gfm-resnet34-tt", 32),
        ("gfm-resnet34-ft", 32),
        ("gfm-resnet34-bt", 32),
        ("gfm-resnet101-tt", 8),
        ("gfm-densenet121-tt", 4),
    ],
)
def test_gfm_as_its_implementation_details(name: str, batch: int) -> None:
    assert _numbers(name) == ((640, 960, 1280), ((320, 320),), batch, "adam", 1e-5, 500)
    recipe = recipes.load(name)
    assert (recipe.schedule, recipe.epochs_composed, recipe.imagenet) == ("constant", 100, True)
    assert set(recipe.composites.values()) == {5}
    assert (recipe.backbone, recipe.rosta) == tuple(name.split("-")[1:])


def test_aim_as_its_section_4_2() -> None:
    assert _numbers("aim-duts") == ((), ((320, 320),), 16, "adam", 1e-4, 100)
    assert _numbers("aim") == ((640, 960, 1280), ((320, 320),), 16, "adam", 1e-6, 50)
    second = recipes.load("aim")
    assert second.composites == {"composition-1k": 5, "distinctions-646": 5, "am-2k": 2}
    assert second.by_type
    assert second.weights == "runs/aim-duts/network.safetensors"


def test_msia_as_its_section_4_1() -> None:
    assert _numbers("msia") == ((512, 640, 800), ((512, 512),), 4, "sgd", 0.01, 20)
    recipe = recipes.load("msia")
    assert (recipe.momentum, recipe.weight_decay) == (0.9, 5e-4)
    assert (recipe.schedule, recipe.power) == ("poly", 0.9)
    assert set(recipe.composites.values()) == {100}


def test_published_recipes_average_no_weights_and_clip_no_gradients() -> None:
    for recipe in ALL:
        if recipe.backbone not in ("efficientnet-lite0", "efficientnet-lite0"):
            assert (recipe.average, recipe.clip, recipe.warm_up, recipe.half) == (0, 0, 0, False)


def _file(tmp_path: Path, text: str, base: str = 'extends = "demo"') -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(f"{base}\n{text}\n")
    return path


def test_a_file_of_one_s_own_extends_another_and_changes_win(tmp_path: Path) -> None:
    path = _file(tmp_path, "rate = 1\n[objective]\nkernel = 9")
    recipe = recipes.load(path, {"batch": 3})
    demo = recipes.load("demo")
    assert (recipe.name, recipe.rate, recipe.batch) == ("mine", 1.0, 3)
    assert recipe.objective == {"kernel": 9}
    assert (recipe.sizes, recipe.average) == (demo.sizes, demo.average)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bach = 3", "did you mean 'batch'?"),
        ("zzz = 3", "'zzz' is not known; expected one of summary"),
        ("name = 'x'", "'name' is not known"),
        ("[[mix]]\nweight = 1\nlabel = 'x'", "'mix[0].label' is not known"),
        ("[[mix]]", "'mix[0].weight' is missing"),
        ("[[mix]]\nweight = -1", "'mix[0].weight' is -1"),
        ("composites = {am-2k = 0}", "'composites.am-2k' is 0"),
        ("batch = 0", "'batch' is 0; expected a whole number of at least 1"),
        ("batch = true", "'batch' is true"),
        ("batch = 1.5", "'batch' is 1.5"),
        ('rate = "fast"', 'rate\' is "fast"'),
        ("rate = nan", "'rate' is NaN"),
        ("half = 1", "'half' is 1"),
        ("sizes = [32, 32]", "'sizes[0]' is 32; expected [height, width]"),
        ("sizes = []", "'sizes' is []"),
        ("crops = [0]", "'crops[0]' is 0"),
        ('optimiser = "adamm"', "did you mean 'adam'?"),
        ('schedule = ["poly"]', 'schedule\' is ["poly"]'),
        ('network = "gmf"', "did you mean 'gfm'?"),
        ('rosta = "tf"', "is 'tf'; expected one of tt, ft"),
        ('rosta = "en-median"', "joins three trained networks"),
        ('without = ["sed"]', "'sed'"),
        ("epochs = 3", "epochs is 3 and steps 8000"),
        ("objective = 3", "'objective' is 3"),
        ("rate = ", "expected a TOML file"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipes.load(_file(tmp_path, text))
    assert str(error.value).startswith("mine.toml: ")
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"mine.toml: 'summary' is missing"):
        recipes.load(_file(tmp_path, 'network = "gfm"', base=""))
    with pytest.raises(RecipeError, match=r"'demmo'.*did you mean 'demo'"):
        recipes.load("demmo")
    with pytest.raises(RecipeError, match="no such file"):
        recipes.load(tmp_path / "nowhere.toml")
    with pytest.raises(RecipeError, match="extends itself"):
        recipes.load(_file(tmp_path, "", base=f'extends = "{tmp_path / "mine.toml"}"'))


def test_values_of_the_command_line_are_read_as_toml() -> None:
    assert recipes.changed("rate=1e-3") == ("rate", 1e-3)
    assert recipes.changed("sizes=[[32, 64]]") == ("sizes", [[32, 64]])
    assert recipes.changed("rosta=bt") == ("rosta", "bt")
    with pytest.raises(RecipeError, match="the command line: 'rat' is not known"):
        recipes.load("demo", {"rat": 1})
