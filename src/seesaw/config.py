"""The config of a run, read, and what the workflow asks it.

:mod:`seesaw.config_checks` checks it, :mod:`seesaw.published_autoencoders` knows the autoencoders
that it names. Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seesaw import evaluation_set
from seesaw.protocols.study import crop_of, own_protocol
from seesaw.registry import LOSSES

Config = Mapping[str, Any]


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file; broken YAML is an error that names the file."""
    import yaml

    try:
        # libyaml's parser where it is built in: ten times as fast
        return yaml.load(Path(path).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def left_out(config: Config) -> list[str]:
    """Blocks that are named and null: those that a person leaves out.

    On Snakemake's command line (``--config gfid=null``) the word comes as text.
    """
    return [name for name, value in config.items() if value in (None, "null")]


def same_images(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two splits read the same files: one path, and of ImageNet the same part of it."""
    if "path" not in a or "path" not in b or a.get("split") != b.get("split"):
        return False
    return Path(a["path"]).resolve() == Path(b["path"]).resolve()


def loss_networks(config: Config) -> dict[str, str]:
    """Role -> network, for the roles that the configured losses need, or use if they are there."""
    losses = [LOSSES[name] for name in config["diffusability"]["losses"]]
    roles = [role for loss in losses for role in (*loss.needs, *loss.uses)]
    players = config["networks"]
    return {role: players[role]["network"] for role in roles if role in players}


def controlled_of(config: Config) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Autoencoders of the control experiment, with the published backbone that each names."""
    listed = config.get("control", {}).get("autoencoders", [])
    return [
        (item["name"], item["backbone"]) if isinstance(item, Mapping) else (item, None)
        for item in listed
    ]


def sampler_like(config: Config, wanted: Mapping[str, Any]) -> str | None:
    """Name of the sampler of the block ``diffusion`` with the same settings, if there is one."""
    defaults = {"guidance": 1, "interval": [0, 1], "precision": "fp32"}
    for sampler in samplers_of(config):
        settings = {key: value for key, value in sampler.items() if key != "name"}
        if {**defaults, **settings} == {**defaults, **wanted}:
            return str(sampler["name"])
    return None


def segment_ends(diffusion: Mapping[str, Any]) -> list[int]:
    """Steps at which the segments of a diffusion model's training end; none without the block."""
    if not diffusion:
        return []
    steps = diffusion["train"]["steps"]
    segment = diffusion.get("segment_steps", steps)
    return [*range(segment, steps, segment), steps]


def segment_recipe(diffusion: Mapping[str, Any]) -> dict[str, Any]:
    """What a segment of the training depends on.

    The number of steps is only part of it where the learning rate decays towards the last one: else
    a longer training goes on from the segments that are there.
    """
    recipe = dict(diffusion.get("train", {}))
    if recipe.get("decay", "none") == "none":
        recipe.pop("steps", None)
    return recipe


def samplers_of(config: Config) -> list[Mapping[str, Any]]:
    """Named ways to sample; the first is the one that plain gFID stands for."""
    return list(config.get("diffusion", {}).get("samplers", []))


def gfid_references(config: Config) -> list[dict[str, Any]]:
    """What gFID compares with, by name; a bare name is a split."""
    listed = config.get("gfid", {}).get("references", [])
    return [dict(item) if isinstance(item, Mapping) else {"name": item} for item in listed]


def ifid_variants(config: Config) -> Iterator[dict[str, Any]]:
    """The default setting first, then the sweep over alpha, then the listed variants."""
    block = config["ifid"]
    yield dict(block["default"])
    for alpha in block.get("alphas", []):
        yield {**block["default"], "alpha": alpha}
    for variant in block.get("variants", []):
        yield dict(variant)


def protocol(config: Config) -> dict[str, Any]:
    """The named choices that every score of the run carries."""
    evaluation = config["data"]["evaluation"]
    return {
        "crop": crop_of(config, evaluation),
        "resolution": config["data"]["resolution"],
        "evaluation": evaluation,
        evaluation_set.KEY: evaluation_set.in_words(config["data"]["splits"][evaluation]),
        "quantisation": own_protocol(config).quantisation,
        "posterior": config["reconstruct"]["posterior"],
    }
