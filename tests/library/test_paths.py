"""``~`` in the paths of a config."""

import json
from copy import deepcopy

import pytest

from seesaw.config import load_yaml
from seesaw.external import absent_images, absent_weights
from seesaw.paths import PLACES, with_expanded_paths
from seesaw.plan import load_study

CONFIG = {
    "data": {
        "splits": {
            "val": {"source": "folder", "path": "~/x"},
            "train": {"source": "imagenet", "path": "~/net", "split": "train", "devkit": "~/kit"},
            "made": {"source": "mini", "count": 3},
        }
    },
    "networks": {
        "lpips": {"network": "lpips-alex", "weights": "~/alex.pth", "source": "from ~/nowhere"},
        "canny": {"network": "canny"},
    },
    "autoencoders": [
        "sdvae",
        {"name": "one", "family": "x", "weights": "~/one.pt", "files": {"a": {"path": "~/one.pt"}}},
        {"name": "two", "family": "x", "weights": {"encoder": "~/e.pt", "decoder": "d.pt"}},
        {"name": "three", "family": "x", "config": {"prompt": "~/kept"}},
    ],
    "gfid": {"references": ["val", {"name": "adm", "weights": "~/adm.npz"}]},
    "control": {
        "autoencoders": [
            "two",
            {
                "name": "one",
                "backbone": {"name": "b", "weights": "~/b.pt", "latents": {"weights": "~/s.pt"}},
            },
        ]
    },
    "assets": {"folder": "~/weights"},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_home_folder_is_written_out_wherever_the_config_names_a_path(home):
    given = deepcopy(CONFIG)
    found = with_expanded_paths(given)
    assert given == CONFIG
    words = json.dumps(CONFIG).replace('"~/', f'"{home}/').replace(f"{home}/kept", "~/kept")
    assert found == json.loads(words)
    assert with_expanded_paths(found) == found


@pytest.mark.parametrize("place", PLACES)
def test_every_place_is_one_of_a_config(place, monkeypatch, home):
    monkeypatch.setattr("seesaw.paths.PLACES", (place,))
    assert str(with_expanded_paths(CONFIG)).count(str(home)) == 1 + (place == PLACES[0])


def test_what_is_no_path_is_left_for_the_check_of_the_config():
    odd = {"data": None, "networks": [], "autoencoders": {"name": "~/x"}, "gfid": {"references": 3}}
    assert with_expanded_paths(odd) == odd
    assert with_expanded_paths({}) == {}
    (kept,) = with_expanded_paths({"networks": {"a": {"weights": ["~/x"]}}})["networks"].values()
    assert kept == {"weights": ["~/x"]}
    assert with_expanded_paths({"assets": {"folder": "./~x"}}) == {"assets": {"folder": "./~x"}}


def test_a_user_without_a_home_is_an_error_in_words():
    config = {"data": {"splits": {"val": {"path": "~nobody-of-this-name/x"}}}}
    with pytest.raises(
        ValueError, match=r"config\.data\.splits\.val\.path: .*'~nobody-of-this-name'.*whole path"
    ):
        with_expanded_paths(config)


def test_what_lies_at_home_is_found(home):
    (home / "x").mkdir()
    (home / "one.pt").write_bytes(b"")
    found = with_expanded_paths(CONFIG)
    assert absent_images("val", found["data"]["splits"]["val"]) is None
    assert absent_weights("one", found["autoencoders"][1]) == []
    (gone,) = absent_weights("two", {"weights": found["autoencoders"][2]["weights"]["encoder"]})
    assert gone.what == f"{home}/e.pt"


def test_a_plan_reads_the_same_paths(home, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {resolution: 256, crop: adm, evaluation: val,\n"
        "  splits: {val: {source: folder, path: ~/x}}}\n"
        "autoencoders: [sdvae]\nassets: {folder: ~/weights}\n"
    )
    assert load_yaml(config)["assets"]["folder"] == "~/weights"
    study = load_study(config, [])
    assert study.config["data"]["splits"]["val"]["path"] == f"{home}/x"
    (entry,) = study.config["autoencoders"]
    assert entry["weights"].startswith(f"{home}/weights/")
