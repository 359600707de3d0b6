"""Configs: the shipped ones are valid, and every mistake gets an error in words."""

from pathlib import Path

import pytest
import yaml

from seesaw.config import load_yaml
from seesaw.config_checks import check_config
from seesaw.published_autoencoders import resolve_autoencoders

from .conftest import ROOT, snakemake

SCHEMA = load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
REGISTRY = load_yaml(ROOT / "config/autoencoders.yaml")
CONFIGS = ["config.yaml", "mini.yaml", "smoke.yaml", "own.yaml", "compare.yaml"]


def load(name="mini.yaml"):
    config = load_yaml(ROOT / "config" / name)
    config["autoencoders"] = resolve_autoencoders(config["autoencoders"], REGISTRY)
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_shipped_configs_are_valid(name):
    check_config(load(name), SCHEMA)


def described(node, path=""):
    """Yield (path, has a description) for every key of the schema."""
    for key, value in node.get("properties", {}).items():
        yield f"{path}.{key}", "description" in value or "$ref" in value
        yield from described(value, f"{path}.{key}")
    for inner in ("items", "additionalProperties"):
        if isinstance(node.get(inner), dict):
            yield from described(node[inner], path)


def test_every_key_is_described_and_no_other_is_taken():
    rows = list(described(SCHEMA))
    assert len(rows) > 40
    assert [path for path, ok in rows if not ok] == []

    def strict(node):
        if isinstance(node, dict):
            if "properties" in node:
                assert node.get("additionalProperties") is False, list(node["properties"])
            for value in node.values():
                strict(value)

    strict(SCHEMA)


def change(path, value):
    def apply(config):
        *parents, last = path
        for key in parents:
            config = config[key]
        config[last] = value

    return apply


def drop(*path):
    def apply(config):
        *parents, last = path
        for key in parents:
            config = config[key]
        del config[last]

    return apply


MISTAKES = {
    "misspelt key": (change(["sede"], 1), r"unknown key 'sede'. Did you mean 'seed'\?"),
    "misspelt inner key": (
        change(["data", "resolutoin"], 64),
        r"config, data: unknown key 'resolutoin'. Did you mean 'resolution'\?",
    ),
    "wrong type": (change(["seed"], "zero"), "config, seed: 'zero' is not of type 'integer'"),
    "missing block": (drop("metrics"), "'metrics' is a required property"),
    "metric": (
        change(["metrics"], ["psnrr"]),
        r"config, metrics: unknown metric 'psnrr'. Did you mean 'psnr'\? Valid: canny, ",
    ),
    "network": (
        change(["networks", "depth"], {"network": "mini-deph"}),
        r"config, networks.depth.network: unknown network 'mini-deph'. Did you mean 'mini-depth'",
    ),
    "role": (change(["networks", "dept"], {"network": "canny"}), "unknown role 'dept'"),
    "network of another kind": (
        change(["networks", "depth"], {"network": "canny"}),
        "'canny' is of kind 'edges' and cannot play this role; these can: mini-depth",
    ),
    "weights for a network without": (
        change(["networks", "canny"], {"network": "canny", "weights": "x.pt"}),
        "'canny' takes no 'weights'",
    ),
    "no weights for a network that needs them": (
        change(["networks", "inception"], {"network": "inception"}),
        "'inception' needs 'weights'",
    ),
    "metric without its network": (drop("networks", "depth"), "'depth' needs a network for"),
    "family": (
        change(["autoencoders", 0, "family"], "difusers-kl"),
        r"unknown autoencoder family 'difusers-kl'. Did you mean 'diffusers-kl'\?",
    ),
    "objective": (
        change(["autoencoders", 0, "train", "objective"], "reconstructoin"),
        r"unknown training objective 'reconstructoin'. Did you mean 'reconstruction'\?",
    ),
    "name twice": (
        lambda config: config["autoencoders"].append(config["autoencoders"][0]),
        "this name stands twice",
    ),
    "weights and training": (
        change(["autoencoders", 0, "weights"], "a.safetensors"),
        "give 'weights' or 'train', not both",
    ),
    "init": (change(["autoencoders", 0, "train", "init"], "nobody"), "unknown autoencoder"),
    "duplicate of itself": (
        change(["autoencoders", 0, "duplicate_of"], "kl-f4c4"),
        "must name another autoencoder",
    ),
    "duplicate of nobody": (
        change(["autoencoders", 0, "duplicate_of"], "kl-f4c5"),
        r"unknown autoencoder 'kl-f4c5'. Did you mean 'kl-f4c4'",
    ),
    "one network with two options": (
        change(["networks", "clip"], {"network": "mini-inception", "train": {"steps": 7}}),
        "plays another role with other options",
    ),
    "init without weights": (
        lambda config: config["autoencoders"][0].pop("train"),
        "'init' is 'kl-f4c4', which has no weights",
    ),
    "init in a circle": (
        change(["autoencoders", 0, "train", "init"], "kl-f4c4"),
        "'init' runs in a circle",
    ),
    "split": (change(["data", "evaluation"], "vall"), "unknown split 'vall'. Did you mean 'val'"),
    "source": (
        change(["data", "splits", "val", "source"], "fodler"),
        r"unknown image source 'fodler'. Did you mean 'folder'\?",
    ),
    "crop": (change(["data", "crop"], "center"), "unknown crop 'center'"),
    "no training split": (
        lambda config: (
            drop("data", "splits", "train")(config),
            change(["data", "reference"], "val")(config),
        ),
        "is trained on the split 'train', which is not there",
    ),
    "ifid without neighbours": (drop("neighbours"), "iFID needs the block 'neighbours'"),
    "k": (change(["ifid", "default", "k"], 99), "draws among 99, neighbours.k is"),
    "references": (
        change(["ifid", "default", "references"], 77),
        "needs 77 in neighbours.references",
    ),
    "condition that cannot be probed for": (
        change(["probes", "conditions"], ["clip"]),
        r"config, probes.conditions.0: 'clip' is not one of \['canny', 'depth'\]",
    ),
    "probe without a network": (
        lambda config: (drop("networks", "canny")(config), config["metrics"].remove("canny")),
        "config, probes.conditions: 'canny' needs a network for this role",
    ),
    "probe trained on what it is scored on": (
        change(["data", "evaluation"], "train"),
        "config, probes: probes would be trained on the images that they are scored on",
    ),
    "probe of nobody": (
        change(["probes", "autoencoders"], ["kl-f4c5"]),
        r"config, probes.autoencoders: unknown autoencoder 'kl-f4c5'. Did you mean 'kl-f4c4'",
    ),
    "control of nobody": (
        change(["control", "autoencoders"], ["vf-f4c5"]),
        r"config, control.autoencoders: unknown autoencoder 'vf-f4c5'. Did you mean 'vf-f4c4'",
    ),
    "control of a model that is not trained": (
        change(["control", "model"], "SiT-XL"),
        r"control: 'vf-f4c4' names no backbone, so its SiT is controlled; unknown model 'SiT-XL'",
    ),
    "control without a sampler": (
        drop("control", "sampler"),
        "give control.sampler, or the autoencoder a 'backbone'",
    ),
    "control on a backbone that is none": (
        change(
            ["control", "autoencoders"],
            [
                {
                    "name": "rae",
                    "backbone": {"name": "x", "weights": "w", "latents": {"weights": "s"}},
                }
            ],
        ),
        r"config, control.autoencoders.rae.backbone: unknown diffusion backbone 'x'",
    ),
    "control by what nobody extracts": (
        lambda config: (
            drop("networks", "canny")(config),
            config["metrics"].remove("canny"),
            drop("probes")(config),
        ),
        "config, control: it needs a network for the role 'canny'",
    ),
    "maps of another size for a branch": (
        lambda config: (
            drop("probes")(config),
            change(["networks", "canny", "network"], "canny-512")(config),
        ),
        "config, control.conditions: the maps of 'canny-512' are not of the images' size",
    ),
    "control with unequal parts": (
        change(["control", "train", "accumulate"], 5),
        "control.train.accumulate: a batch of 32 cannot be cut into 5 equal parts",
    ),
    "controlled tokens": (
        lambda config: (
            change(["control", "autoencoders"], ["tok1d"])(config),
            config["autoencoders"][-1].update(latent_shape=[16, 16]),
        ),
        r"latents of 'tok1d' are tokens \[16, 16\] without a grid",
    ),
    "controlled twice": (
        change(
            ["control", "autoencoders"],
            [
                "rae",
                {
                    "name": "rae",
                    "backbone": {"name": "ditdh-xl", "weights": "w", "latents": {"weights": "s"}},
                },
            ],
        ),
        "config, control.autoencoders: a name stands twice",
    ),
    "images too small for a metric": (
        lambda config: config["metrics"].append("ms-ssim"),
        "'ms-ssim' needs images of more than 160 pixels a side, data.resolution is 32",
    ),
    "loss": (
        change(["diffusability", "losses"], ["eq-los"]),
        r"diffusability.losses: unknown diffusability loss 'eq-los'. Did you mean 'eq-loss'",
    ),
    "loss without its network": (
        lambda config: (
            drop("networks", "dino-large")(config),
            config["metrics"].remove("fdd"),
        ),
        "'vf-loss' needs a network for the role 'dino-large'",
    ),
    "loss without a number": (drop("diffusability", "pca"), "'gmm-loss' needs the key 'pca'"),
    "more components than images": (
        change(["diffusability", "train_images"], 50),
        "diffusability.pca: 64 is more than the 50 train_images",
    ),
    "gfid without models": (drop("diffusion"), "config, gfid: gFID needs the block 'diffusion'"),
    "gfid without its network": (
        lambda config: (
            drop("networks", "inception")(config),
            drop("ifid")(config),
            [config["metrics"].remove(metric) for metric in ("rfid", "fd-infinity", "kid")],
        ),
        "config, gfid: gFID needs a network for the role 'inception'",
    ),
    "size of a diffusion model": (
        change(["diffusion", "models"], ["SiT-XXL"]),
        r"config, diffusion.models.0: 'SiT-XXL' is not one of \['SiT-Ti', ",
    ),
    "diffusion model of nobody": (
        change(["diffusion", "autoencoders"], ["kl-f4c5"]),
        r"config, diffusion.autoencoders: unknown autoencoder 'kl-f4c5'. Did you mean 'kl-f4c4'",
    ),
    "batch that GPUs cannot share": (
        change(["diffusion", "gpus"], 3),
        "batch_size: 32 images cannot be shared equally by 3 GPUs",
    ),
    "sampler twice": (
        lambda config: config["diffusion"]["samplers"].append(config["diffusion"]["samplers"][0]),
        r"diffusion.samplers: a name stands twice in \['plain', 'guided', 'plain'\]",
    ),
    "sampler with a name that is taken": (
        change(["diffusion", "samplers", 0, "name"], "times"),
        "diffusion.samplers: 'times' is the name of the scores of gFID",
    ),
    "interval the wrong way round": (
        change(["diffusion", "samplers", 1, "interval"], [0.8, 0.2]),
        r"the interval \[0.8, 0.2\] of 'guided' ends before it begins",
    ),
    "sampler": (
        change(["diffusion", "samplers", 0, "mode"], "ddim"),
        r"config, diffusion.samplers.0.mode: 'ddim' is not one of \['sde', 'ode', 'heun'\]",
    ),
    "reference of gfid": (
        change(["gfid", "references"], ["val", "train"]),
        "gfid.references: 'train' is neither the evaluation split",
    ),
    "reference of gfid twice": (
        change(["gfid", "references"], ["val", "val"]),
        r"gfid.references: a name stands twice in \['val', 'val'\]",
    ),
    "gfid without the evaluation split": (
        change(["gfid", "references"], [{"name": "val", "weights": "val.npz"}]),
        "the evaluation split 'val' must be among them, by its name alone",
    ),
    "time of gfid": (change(["gfid", "times"], [0, 1]), "config, gfid.times.1: 1 is "),
    "time of gfid twice": (change(["gfid", "times"], [0.2, 0.2]), "config, gfid.times: "),
    "part of ImageNet": (
        change(["data", "splits", "val"], {"source": "imagenet", "path": "x", "split": "test"}),
        "config, data.splits.val.split: 'test' is not one of",
    ),
    "part of ImageNet missing": (
        change(["data", "splits", "val"], {"source": "imagenet", "path": "x"}),
        "needs 'split', which part of ImageNet it is: train or val; got None",
    ),
    "probes on their own images": (
        lambda config: config["data"]["splits"].update(
            {s: {"source": "imagenet", "path": "x", "split": "val"} for s in ("train", "val")}
        ),
        "scored on",
    ),
    "protocol": (
        change(["protocols", "scored"], ["seasaw"]),
        r"config, protocols.scored: unknown protocol 'seasaw'. Did you mean 'seesaw'\?",
    ),
    "protocol like nobody": (
        change(["protocols", "scored"], [{"name": "mine", "like": "ifd"}]),
        r"config, protocols.scored: unknown protocol 'ifd'. Did you mean 'ifid'\?",
    ),
    "value of an axis": (
        change(["protocols", "scored"], [{"name": "mine", "resize": "cleen"}]),
        r"config, protocols.scored.0.resize: 'cleen' is not one of \['tf1', 'torch-bilinear', ",
    ),
    "misspelt axis": (
        change(["protocols", "scored"], ["seesaw", {"name": "mine", "reszie": "clean"}]),
        r"config, protocols.scored.1: unknown key 'reszie'. Did you mean 'resize'\?",
    ),
    "protocol of a name that is taken": (
        change(["protocols", "scored"], [{"name": "rae", "posterior": "sample"}]),
        "config, protocols.scored: 'rae' is the name of something else; choose another",
    ),
    "protocol twice": (
        change(["protocols", "scored"], [{"name": "a"}, {"name": "a", "posterior": "sample"}]),
        r"config, protocols.scored: a name stands twice in \['a', 'a'\]",
    ),
    "reference of a protocol": (
        change(["protocols", "scored"], [{"name": "mine", "reference": "tain"}]),
        r"scored.mine: unknown reference 'tain'. Did you mean 'train'\? Valid: train, val",
    ),
    "protocols of nobody": (
        change(["protocols", "autoencoders"], ["kl-f4c5"]),
        r"config, protocols.autoencoders: unknown autoencoder 'kl-f4c5'. Did you mean 'kl-f4c4'",
    ),
    "sweep of one that is not scored": (
        change(["protocols", "sweep"], ["rae"]),
        "config, protocols.sweep: 'rae' is not in protocols.autoencoders; add it",
    ),
    "protocols without their network": (
        lambda config: (
            [drop(key)(config) for key in ("ifid", "gfid", "control", "diffusion")],
            drop("networks", "inception")(config),
            [config["metrics"].remove(metric) for metric in ("rfid", "fd-infinity", "kid")],
        ),
        "config, protocols: rFID needs a network for the role 'inception'",
    ),
    "a split of the name that protocols need": (
        lambda config: (
            change(["protocols", "scored"], ["rae"])(config),
            change(["data", "splits", "val"], {"source": "folder", "path": "a"})(config),
            change(["data", "splits", "val-adm"], {"source": "folder", "path": "b"})(config),
        ),
        "config, data.splits.val-adm: protocols make a split of this name",
    ),
    "crop of a split": (
        change(["data", "splits", "val"], {"source": "folder", "path": "a", "crop": "center"}),
        "config, data.splits.val.crop: unknown crop 'center'",
    ),
    "crop of what is not cropped": (
        change(["data", "splits", "val", "crop"], "adm"),
        "data.splits.val.crop: scenes of the source 'mini' are rendered",
    ),
    "maps of another size for a probe": (
        change(["networks", "canny", "network"], "canny-512"),
        "config, probes.conditions: the maps of 'canny-512' are not of the images' size, which "
        "probes needs; name 'canny' under networks.canny",
    ),
    "quantisation": (
        change(["reconstruct", "quantisation"], "uint8"),
        r"config, reconstruct.quantisation: 'uint8' is not one of \['uint8-round', 'uint8-floor'\]",
    ),
    "interpolation": (
        change(["ifid", "default", "interpolation"], "sperp"),
        "unknown interpolation 'sperp'. Did you mean 'slerp'",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_words(mistake):
    apply, words = MISTAKES[mistake]
    config = load()
    apply(config)
    with pytest.raises(ValueError, match=words):
        check_config(config, SCHEMA)


def test_unknown_published_autoencoder():
    with pytest.raises(
        ValueError, match="unknown autoencoder 'sd-vae-ft'. Did you mean 'sd-vae-ft"
    ):
        resolve_autoencoders(["sd-vae-ft"], REGISTRY)


@pytest.mark.parametrize(
    "apply, words",
    [
        (change(["metrics"], ["psnrr"]), "Did you mean 'psnr'?"),
        (change(["report", "items"], ["table9"]), "unknown item 'table9'. Did you mean 'table"),
        (change(["metrics"], ["ssim"]), "'autoencoder_grid' needs the metric 'psnr'"),
        (drop("ifid"), "'ifid_table4' needs the block 'ifid'"),
        (drop("diffusability"), "'diffusability_losses' needs the block 'diffusability'"),
    ],
)
def test_the_workflow_says_it_too(config_with, apply, words):
    printed = snakemake("-n", "--configfile", config_with(apply), code=1)
    assert words in printed
    assert "Traceback" not in printed


def test_broken_yaml(tmp_path):
    path = Path(tmp_path) / "broken.yaml"
    path.write_text("a: [1,")
    with pytest.raises(ValueError, match="broken.yaml is not valid YAML"):
        load_yaml(path)
    assert yaml.safe_load("a: 1") == {"a": 1}
