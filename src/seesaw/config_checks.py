"""The config of a run, checked: against a strict schema, and its names against the registries.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from seesaw.config import Config, controlled_of, gfid_references, ifid_variants, same_images
from seesaw.entries import check_entries
from seesaw.protocols.study import check_protocols
from seesaw.published_autoencoders import WEIGHT_ROLES
from seesaw.registry import (
    BACKBONES,
    CROPS,
    FAMILIES,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    ROLES,
    SOURCES,
    unknown,
)

PUBLISHED_BACKBONES = ("lightningdit-xl/1", "ditdh-xl")
"""Those whose time grids and latent statistics :mod:`seesaw.control.frozen` knows."""


def check_config(config: Config, schema: Mapping[str, Any]) -> None:
    """Raise unless ``config`` fits the schema and every name in it means something.

    Args:
        config: the merged config of the run.
        schema: JSON schema (``workflow/schemas/config.schema.yaml``).

    Raises:
        ValueError: where in the config, what was given, what is allowed.
    """
    check_schema(config, schema)
    _check_splits(config)
    _check_networks(config)
    _check_data(config)
    _check_autoencoders(config)
    check_entries(config)
    _check_metrics(config)
    _check_ifid(config)
    _check_probes(config)
    _check_diffusability(config)
    _check_diffusion(config)
    _check_control(config)
    check_protocols(config)


def check_schema(given: Mapping[str, Any], schema: Mapping[str, Any], what: str = "config") -> None:
    """Raise unless ``given`` fits a JSON schema.

    Args:
        given: a config, or another file that a person writes.
        schema: JSON schema.
        what: how errors call the file.

    Raises:
        ValueError: where, what was given, what is allowed; the closest match of an unknown key.
    """
    from jsonschema import Draft202012Validator

    errors = sorted(
        Draft202012Validator(schema).iter_errors(given), key=lambda e: [str(p) for p in e.path]
    )
    if not errors:
        return
    error = errors[0]
    where = ".".join(str(part) for part in error.path) or "top level"
    if error.validator == "additionalProperties" and isinstance(error.instance, Mapping):
        valid = error.schema.get("properties", {})
        bad = next(key for key in error.instance if key not in valid)
        raise ValueError(f"{what}, {where}: {unknown('key', bad, valid)}")
    raise ValueError(f"{what}, {where}: {error.message}")


def _check_splits(config: Config) -> None:
    for split, source in config["data"]["splits"].items():
        _known(SOURCES, source["source"], f"data.splits.{split}.source")
        if source["source"] == "imagenet":
            from seesaw.data.imagenet import check_keys

            check_keys({k: v for k, v in source.items() if k != "crop"}, split)
        if "crop" in source:
            _known(CROPS, source["crop"], f"data.splits.{split}.crop")
            if source["source"] == "mini":
                raise ValueError(
                    f"config, data.splits.{split}.crop: scenes of the source 'mini' are rendered "
                    "at the resolution, nothing is cropped; leave the key out"
                )
    _known(CROPS, config["data"]["crop"], "data.crop")


def _check_networks(config: Config) -> None:
    players: dict[str, Mapping[str, Any]] = {}
    for role, player in config["networks"].items():
        if players.setdefault(player["network"], player) != player:
            raise ValueError(
                f"config, networks.{role}: {player['network']!r} plays another role with other "
                "options; give both the same"
            )
        if role not in ROLES:
            raise ValueError(f"config, networks: {unknown('role', role, ROLES)}")
        _known(NETWORKS, player["network"], f"networks.{role}.network")
        entry = NETWORKS[player["network"]]
        if entry.kind not in ROLES[role]:
            fitting = [name for name in NETWORKS if NETWORKS[name].kind in ROLES[role]]
            raise ValueError(
                f"config, networks.{role}: {player['network']!r} is of kind {entry.kind!r} and "
                f"cannot play this role; these can: {', '.join(fitting)}"
            )
        if entry.weights == "file" and "weights" not in player:
            raise ValueError(
                f"config, networks.{role}: {player['network']!r} needs 'weights', its file's path"
            )
        if entry.weights is None and "weights" in player:
            raise ValueError(f"config, networks.{role}: {player['network']!r} takes no 'weights'")


def _check_data(config: Config) -> None:
    """Splits that are needed are there, and are not called like an autoencoder."""
    splits = config["data"]["splits"]
    for key in ("evaluation", "reference"):
        if config["data"][key] not in splits:
            raise ValueError(f"config, data.{key}: {unknown('split', config['data'][key], splits)}")
    names = {entry["name"] for entry in config["autoencoders"]}
    clash = names & set(splits)
    if clash:
        raise ValueError(f"config: {sorted(clash)[0]!r} names both a split and an autoencoder")
    trained = [e["name"] for e in config["autoencoders"] if "train" in e]
    taught = [
        role
        for role, player in config["networks"].items()
        if NETWORKS[player["network"]].trainer and "weights" not in player
    ]
    if (trained or taught) and "train" not in splits:
        raise ValueError(
            f"config, data.splits: {', '.join(trained + taught)} is trained on the split 'train', "
            "which is not there"
        )


def _check_autoencoders(config: Config) -> None:
    entries: dict[str, Mapping[str, Any]] = {}
    for entry in config["autoencoders"]:
        if entry["name"] in entries:
            raise ValueError(f"config, autoencoders.{entry['name']}: this name stands twice")
        entries[entry["name"]] = entry
        _check_autoencoder(entry, f"autoencoders.{entry['name']}")
    for entry in entries.values():
        _check_duplicate(entry, entries)
        _check_training(entry, entries, config["networks"])
    _check_no_circle(entries)


def _check_autoencoder(entry: Mapping[str, Any], where: str) -> None:
    if ":" not in entry["family"]:
        _known(FAMILIES, entry["family"], f"{where}.family")
    if "weights" in entry and "train" in entry:
        raise ValueError(f"config, {where}: give 'weights' or 'train', not both")
    roles = entry["weights"] if isinstance(entry.get("weights"), Mapping) else ()
    for role in roles:
        if role not in WEIGHT_ROLES:
            raise ValueError(f"config, {where}: {unknown('role', role, WEIGHT_ROLES)}")


def _check_duplicate(entry: Mapping[str, Any], entries: Mapping[str, Any]) -> None:
    """``duplicate_of`` names another autoencoder, which counts itself."""
    if "duplicate_of" not in entry:
        return
    original, where = entry["duplicate_of"], f"autoencoders.{entry['name']}"
    if original not in entries:
        raise ValueError(f"config, {where}: {unknown('autoencoder', original, entries)}")
    if original == entry["name"] or "duplicate_of" in entries[original]:
        raise ValueError(
            f"config, {where}: duplicate_of names {original!r}; it must name another autoencoder, "
            "one that is not marked as a duplicate itself"
        )


def _check_training(
    entry: Mapping[str, Any], entries: Mapping[str, Any], networks: Mapping[str, Any]
) -> None:
    """Objective, start and teacher of an autoencoder that is trained here."""
    if "train" not in entry:
        return
    train, where = entry["train"], f"autoencoders.{entry['name']}"
    if "objective" in train:
        _known(OBJECTIVES, train["objective"], f"{where}.train.objective")
    if "init" in train:
        _check_start(train["init"], entries, where)
    if "teacher" in train and train["teacher"] not in networks:
        raise ValueError(f"config, {where}: {unknown('role', train['teacher'], networks)}")


def _check_start(init: str, entries: Mapping[str, Any], where: str) -> None:
    """``init`` names an autoencoder with weights in one file."""
    if init not in entries:
        raise ValueError(f"config, {where}: {unknown('autoencoder', init, entries)}")
    if not {"train", "weights"} & set(entries[init]):
        raise ValueError(f"config, {where}: 'init' is {init!r}, which has no weights")
    if isinstance(entries[init].get("weights"), Mapping):
        raise ValueError(
            f"config, {where}: 'init' is {init!r}, whose weights lie in several files; a training "
            "can only start from one"
        )


def _check_no_circle(entries: Mapping[str, Any]) -> None:
    """No training starts, by way of others, from itself."""
    for name in entries:
        chain = [name]
        while (init := entries[chain[-1]].get("train", {}).get("init")) is not None:
            if init in chain:
                raise ValueError(f"config, autoencoders: 'init' runs in a circle: {chain}")
            chain.append(init)


def _check_metrics(config: Config) -> None:
    for metric in config["metrics"]:
        _known(METRICS, metric, "metrics")
        role = METRICS[metric].role
        if role is not None and role not in config["networks"]:
            raise ValueError(
                f"config, metrics: {metric!r} needs a network for the role {role!r}; name one "
                f"under networks.{role}, or leave the metric out"
            )
    if "ms-ssim" in config["metrics"]:
        from seesaw.metrics.fidelity import LARGER_THAN

        if config["data"]["resolution"] <= LARGER_THAN:
            raise ValueError(
                f"config, metrics: 'ms-ssim' needs images of more than {LARGER_THAN} pixels a "
                f"side, data.resolution is {config['data']['resolution']}; leave it out, or raise "
                "data.resolution"
            )


def _check_ifid(config: Config) -> None:
    if "ifid" not in config:
        return
    if "neighbours" not in config:
        raise ValueError("config, ifid: iFID needs the block 'neighbours'")
    if "inception" not in config["networks"]:
        raise ValueError("config, ifid: iFID needs a network for the role 'inception'")
    neighbours = config["neighbours"]
    for variant in ifid_variants(config):
        _known(INTERPOLATIONS, variant["interpolation"], "ifid")
        distance = "l2" if variant["interpolation"] == "linear" else "cosine"
        for key, value, block in (
            ("references", variant["references"], neighbours["references"]),
            ("distances", distance, neighbours["distances"]),
        ):
            if value not in block:
                raise ValueError(
                    f"config, ifid: {variant} needs {value!r} in neighbours.{key}, which is {block}"
                )
        if variant["k"] > neighbours["k"]:
            raise ValueError(
                f"config, ifid: {variant} draws among {variant['k']}, neighbours.k is "
                f"{neighbours['k']}"
            )


def _check_native_size(config: Config, role: str, where: str) -> None:
    """Maps that a probe or a branch learns have the size of the images."""
    network = config["networks"][role]["network"]
    if NETWORKS[network].kind == "edges" and "resize" in NETWORKS[network].options:
        raise ValueError(
            f"config, {where}: the maps of {network!r} are not of the images' size, which "
            f"{where.partition('.')[0]} needs; name 'canny' under networks.{role}"
        )


def _check_probes(config: Config) -> None:
    if "probes" not in config:
        return
    block = config["probes"]
    if "train" not in config["data"]["splits"]:
        raise ValueError(
            "config, probes: probes are trained on the split 'train', which is not there; add it "
            "under data.splits, or leave the block 'probes' out"
        )
    train, evaluation = (
        config["data"]["splits"][s] for s in ("train", config["data"]["evaluation"])
    )
    if train is evaluation or same_images(train, evaluation):
        raise ValueError(
            "config, probes: probes would be trained on the images that they are scored on; let "
            "'train' and data.evaluation be different images"
        )
    for role in block["conditions"]:
        if role not in config["networks"]:
            raise ValueError(
                f"config, probes.conditions: {role!r} needs a network for this role; name one "
                f"under networks.{role}, or leave the condition out"
            )
        _check_native_size(config, role, "probes.conditions")
    names = [entry["name"] for entry in config["autoencoders"]]
    for name in block.get("autoencoders", []):
        if name not in names:
            raise ValueError(f"config, probes.autoencoders: {unknown('autoencoder', name, names)}")


def _check_diffusability(config: Config) -> None:
    block = config.get("diffusability", {"losses": []})
    keys = {"gmm-loss": ("train_images", "components", "pca"), "vf-loss": ("train_images",)}
    for loss in block["losses"]:
        _known(LOSSES, loss, "diffusability.losses")
        for role in LOSSES[loss].needs:
            if role not in config["networks"]:
                raise ValueError(
                    f"config, diffusability.losses: {loss!r} needs a network for the role {role!r};"
                    f" name one under networks.{role}, or leave the loss out"
                )
        if LOSSES[loss].fits and "train" not in config["data"]["splits"]:
            raise ValueError(
                f"config, data.splits: {loss!r} is fitted on the split 'train', which is not there"
            )
        for key in keys.get(loss, ()):
            if key not in block:
                raise ValueError(f"config, diffusability: {loss!r} needs the key {key!r}")
    for key in ("components", "pca"):
        if key in block and block.get("train_images", block[key]) < block[key]:
            raise ValueError(
                f"config, diffusability.{key}: {block[key]} is more than the "
                f"{block['train_images']} train_images that it is fitted on"
            )


def _check_diffusion(config: Config) -> None:
    if "diffusion" not in config:
        if "gfid" in config:
            raise ValueError("config, gfid: gFID needs the block 'diffusion'")
        return
    block, names = config["diffusion"], [entry["name"] for entry in config["autoencoders"]]
    if "train" not in config["data"]["splits"]:
        raise ValueError(
            "config, diffusion: diffusion models are trained on the split 'train', which is not "
            "there; add it under data.splits, or leave the block 'diffusion' out"
        )
    for name in block.get("autoencoders", []):
        if name not in names:
            raise ValueError(
                f"config, diffusion.autoencoders: {unknown('autoencoder', name, names)}"
            )
    batch, gpus = block["train"].get("batch_size", 128), block.get("gpus", 1)
    if gpus and batch % gpus:
        raise ValueError(
            f"config, diffusion.train.batch_size: {batch} images cannot be shared equally by "
            f"{gpus} GPUs (diffusion.gpus); choose a multiple"
        )
    _check_samplers(block["samplers"])
    if "gfid" in config:
        _check_gfid(config)


def _check_samplers(samplers: Sequence[Mapping[str, Any]]) -> None:
    names = [sampler["name"] for sampler in samplers]
    if len(set(names)) < len(names):
        raise ValueError(f"config, diffusion.samplers: a name stands twice in {names}")
    if "times" in names:
        raise ValueError(
            "config, diffusion.samplers: 'times' is the name of the scores of gFID(t); choose "
            "another"
        )
    for sampler in samplers:
        low, high = sampler.get("interval", (0, 1))
        if low > high:
            raise ValueError(
                f"config, diffusion.samplers: the interval {[low, high]} of {sampler['name']!r} "
                "ends before it begins; give the smaller time first"
            )


def _check_gfid(config: Config) -> None:
    if "inception" not in config["networks"]:
        raise ValueError("config, gfid: gFID needs a network for the role 'inception'")
    evaluation, references = config["data"]["evaluation"], gfid_references(config)
    for entry in references:
        if "weights" not in entry and entry["name"] != evaluation:
            raise ValueError(
                f"config, gfid.references: {entry['name']!r} is neither the evaluation split "
                f"({evaluation!r}) nor has it 'weights', the path of a file with mu and sigma"
            )
    names = [entry["name"] for entry in references]
    if len(set(names)) < len(names):
        raise ValueError(f"config, gfid.references: a name stands twice in {names}")
    if {"name": evaluation} not in references:
        raise ValueError(
            f"config, gfid.references: the evaluation split {evaluation!r} must be among them, by "
            "its name alone; gFID(1), KID, precision and recall are measured against it"
        )


def _check_control(config: Config) -> None:
    if "control" not in config:
        return
    block, pool = config["control"], {entry["name"]: entry for entry in config["autoencoders"]}
    if "train" not in config["data"]["splits"]:
        raise ValueError(
            "config, control: branches are trained on the split 'train', which is not there; add "
            "it under data.splits, or leave the block 'control' out"
        )
    for role in ("inception", *block["conditions"]):
        if role not in config["networks"]:
            raise ValueError(
                f"config, control: it needs a network for the role {role!r}; name one under "
                f"networks.{role}, or leave the condition or the block out"
            )
        _check_native_size(config, role, "control.conditions")
    controlled = controlled_of(config)
    names = [name for name, _ in controlled]
    if len(set(names)) < len(names):
        raise ValueError(f"config, control.autoencoders: a name stands twice in {names}")
    for name, backbone in controlled:
        if name not in pool:
            raise ValueError(f"config, control.autoencoders: {unknown('autoencoder', name, pool)}")
        if backbone is not None:
            _check_controlled_backbone(backbone["name"], f"control.autoencoders.{name}.backbone")
        else:
            _check_controlled_sit(config, name)
        shape = pool[name].get("latent_shape")
        if shape is not None and len(shape) != 3:
            raise ValueError(
                f"config, control.autoencoders: latents of {name!r} are tokens {shape} without a "
                "grid, on which a map has no place; choose an autoencoder with a grid"
            )
    batch, parts = block["train"].get("batch_size", 32), block["train"].get("accumulate", 1)
    if batch % parts:
        raise ValueError(
            f"config, control.train.accumulate: a batch of {batch} cannot be cut into {parts} "
            "equal parts; choose a divisor"
        )


def _check_controlled_backbone(backbone: str, where: str) -> None:
    """A backbone with its authors' weights: time grid and statistics must be known."""
    _known(BACKBONES, backbone, where)
    if backbone not in PUBLISHED_BACKBONES:
        raise ValueError(
            f"config, {where}: {backbone!r} cannot be controlled from its file; these can: "
            f"{', '.join(PUBLISHED_BACKBONES)}, and a SiT that the block 'diffusion' trains"
        )


def _check_controlled_sit(config: Config, name: str) -> None:
    """An autoencoder without a backbone of its own: its SiT must be trained here."""
    block, diffusion = config["control"], config.get("diffusion", {"models": []})
    where = f"config, control: {name!r} names no backbone, so its SiT is controlled"
    if "model" not in block or "sampler" not in block:
        missing = "model" if "model" not in block else "sampler"
        raise ValueError(f"{where}; give control.{missing}, or the autoencoder a 'backbone'")
    if block["model"] not in diffusion["models"]:
        raise ValueError(f"{where}; {unknown('model', block['model'], diffusion['models'])}")
    if name not in diffusion.get("autoencoders", [name]):
        raise ValueError(f"{where}; add it to diffusion.autoencoders, or give it a 'backbone'")


def _known(registry: Any, name: str, where: str) -> None:
    try:
        registry[name]
    except ValueError as error:
        raise ValueError(f"config, {where}: {error}") from None
