"""The config of a run: checked against a strict schema, names checked against the registries.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from seesaw.entries import check_entries
from seesaw.protocols.study import check_protocols, crop_of, own_protocol
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

Config = Mapping[str, Any]
REGISTRY = Path(__file__).parents[2] / "config/autoencoders.yaml"
WEIGHTS = "weights"
"""Folder of the files of published autoencoders."""
WEIGHT_ROLES = ("autoencoder", "encoder", "decoder", "stats")
"""What a file of an official autoencoder can hold; ``stats``: statistics of its latents."""
PUBLISHED_BACKBONES = ("lightningdit-xl/1", "ditdh-xl")
"""Those whose time grids and latent statistics :mod:`seesaw.control.frozen` knows."""


logger = logging.getLogger(__name__)


def load_yaml(path: str | Path) -> Any:
    """Read a YAML file; broken YAML is an error that names the file."""
    import yaml

    try:
        # libyaml's parser where it is built in: ten times as fast
        return yaml.load(Path(path).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error


def published_autoencoder(name: str) -> dict[str, Any] | None:
    """Family and config of a published autoencoder or architecture by name; None: no such name.

    Raises:
        ValueError: one whose weights nobody could locate.
    """
    registry = load_yaml(REGISTRY)
    if name in registry["autoencoders"]:
        entry = registry["autoencoders"][name]
        if "architecture" not in entry:
            raise ValueError(f"autoencoder {name!r} cannot be built: {entry['confidence']['note']}")
    elif name in registry["architectures"]:
        entry = {"architecture": name}
    else:
        return None
    family = registry["architectures"][entry["architecture"]]["family"]
    return {"family": family, "config": config_of(entry, registry)}


def published_names() -> list[str]:
    """Names that :func:`published_autoencoder` knows."""
    registry = load_yaml(REGISTRY)
    return sorted({*registry["architectures"], *registry["autoencoders"]})


def config_of(entry: Mapping[str, Any], registry: Mapping[str, Any]) -> dict[str, Any]:
    """Config of a published autoencoder: its architecture's, its own, and its options.

    Args:
        entry: of ``autoencoders`` in the registry.
        registry: ``config/autoencoders.yaml``.
    """
    options = {k: v for k, v in entry.get("options", {}).items() if k in ("ema", "latents")}
    if "normalization" in entry:
        options["normalization"] = entry["normalization"]
    architecture = registry["architectures"][entry["architecture"]]
    return {**architecture["config"], **entry.get("config", {}), **options}


def resolve_autoencoders(
    items: Sequence[str | Mapping[str, Any]],
    registry: Mapping[str, Mapping[str, Any]],
    folder: str | Path = WEIGHTS,
) -> list[dict[str, Any]]:
    """Entries of the pool: a bare name is looked up in the registry of published autoencoders.

    One whose weights nobody could locate is left out, which a warning says.

    Args:
        items: the config's ``autoencoders`` list: names, whole entries, or entries that are
            ``like`` a published one but for what they say.
        registry: ``config/autoencoders.yaml``.
        folder: of weights.

    Raises:
        ValueError: a name that the registry lacks.
    """
    entries = []
    for item in items:
        if isinstance(item, Mapping):
            entries.append(_variant(item, registry, folder) if "like" in item else dict(item))
            continue
        if item not in registry["autoencoders"]:
            words = unknown("autoencoder", item, registry["autoencoders"])
            raise ValueError(f"config, autoencoders: {words}")
        if not registry["autoencoders"][item]["files"]:
            note = registry["autoencoders"][item]["confidence"]["note"]
            logger.warning("autoencoder %r is left out: %s", item, note)
            continue
        entry = resolve_autoencoder(item, registry, folder)
        if entry.get("duplicate_of") not in items:
            entry.pop("duplicate_of", None)  # without its original it counts itself
        entries.append(entry)
    return entries


def _variant(
    item: Mapping[str, Any], registry: Mapping[str, Mapping[str, Any]], folder: str | Path
) -> dict[str, Any]:
    """A published autoencoder under another name, with other options."""
    given = registry["autoencoders"].get(item["like"])
    where = f"config, autoencoders.{item.get('name')}, like"
    if given is None:
        raise ValueError(
            f"{where}: {unknown('autoencoder', item['like'], registry['autoencoders'])}"
        )
    if not given["files"]:
        raise ValueError(f"{where}: {item['like']!r}: {given['confidence']['note']}")
    own = {key: value for key, value in item.items() if key not in ("like", "config")}
    base = resolve_autoencoder(item["like"], registry, folder, item.get("config", {}))
    dropped = {"published", "duplicate_of"}  # the papers' numbers are not this one's
    if "weights" in item:
        dropped |= {"files", "source", "confidence"}
    return {**{key: value for key, value in base.items() if key not in dropped}, **own}


def resolve_autoencoder(
    name: str,
    registry: Mapping[str, Mapping[str, Any]],
    folder: str | Path = WEIGHTS,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A published autoencoder as an entry of the pool, its architecture merged into it.

    Args:
        name: in the registry's ``autoencoders``, one with files.
        registry: ``config/autoencoders.yaml``.
        folder: of weights.
        changes: keys of its config that have other values here.

    Returns:
        Keys of an entry in a config (``docs/config.md``). ``weights`` is a path, or role -> path:
        files that are optional are left out, but for the statistics of normalized latents. What
        ``options`` and ``normalization`` say stands in ``config``.
    """
    given = registry["autoencoders"][name]
    architecture = registry["architectures"][given["architecture"]]
    config = {**config_of(given, registry), **(changes or {})}
    files = {role: described_file(file, given, folder) for role, file in given["files"].items()}
    wanted = {"stats"} if config.get("latents") == "normalized" else set()
    places = {
        role: file["path"]
        for role, file in files.items()
        if role in WEIGHT_ROLES and (role in wanted or not file.get("optional"))
    }
    main = files.get("autoencoder", files.get("decoder", {}))
    same = ("latent_shape", "parameters", "gflops")
    entry = {
        "name": name,
        "group": given["group"],
        "family": architecture["family"],
        "training": given["training"],
        "config": config,
        **{key: architecture[key] for key in same if key in architecture},
        "patch_size": given["patch_size"],
        "weights": places["autoencoder"] if list(places) == ["autoencoder"] else places,
        "files": files,
        "source": source_of(main),
        "published": {k: v for k, v in given["published"].items() if k in ("seesaw", "ifid")},
        "confidence": f"{given['confidence']['level']}: {given['confidence']['note']}",
    }
    if "duplicate_of" in given:
        entry["duplicate_of"] = given["duplicate_of"]
    return entry


def described_file(
    file: Mapping[str, Any], entry: Mapping[str, Any], folder: str | Path = WEIGHTS
) -> dict[str, Any]:
    """A file of the registry with its place on disk (``path``), and its entry's licence.

    Args:
        file: of ``files`` of a published autoencoder.
        entry: that autoencoder.
        folder: of weights.
    """
    if "url" in file:
        parts = urlsplit(file["url"])
        path = f"{folder}/{parts.netloc}{parts.path}"
    else:
        path = f"{folder}/{file['repo']}/{file['file']}"
    own = {"licence": entry["licence"]}
    if "gated" in entry and file.get("repo", "-") in entry["gated"]:
        own["gated"] = entry["gated"]
    return {"path": path, **own, **file}


def source_of(file: Mapping[str, Any]) -> str:
    """Page of a file on the hub, or its URL."""
    if "url" in file:
        return str(file["url"])
    revision = file.get("revision", "main")
    return f"https://huggingface.co/{file['repo']}/blob/{revision}/{file['file']}"


def check_config(config: Config, schema: Mapping[str, Any]) -> None:
    """Raise unless ``config`` fits the schema and every name in it means something.

    Args:
        config: the merged config of the run.
        schema: JSON schema (``workflow/schemas/config.schema.yaml``).

    Raises:
        ValueError: where in the config, what was given, what is allowed.
    """
    check_schema(config, schema)
    _check_names(config)
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


def same_images(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two splits read the same files: one path, and of ImageNet the same part of it."""
    if "path" not in a or "path" not in b or a.get("split") != b.get("split"):
        return False
    return Path(a["path"]).resolve() == Path(b["path"]).resolve()


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


def _check_names(config: Config) -> None:
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
    entries = {}
    for entry in config["autoencoders"]:
        name = entry["name"]
        where = f"autoencoders.{name}"
        if name in entries:
            raise ValueError(f"config, {where}: this name stands twice")
        entries[name] = entry
        if ":" not in entry["family"]:
            _known(FAMILIES, entry["family"], f"{where}.family")
        if "weights" in entry and "train" in entry:
            raise ValueError(f"config, {where}: give 'weights' or 'train', not both")
        roles = entry["weights"] if isinstance(entry.get("weights"), Mapping) else ()
        for role in roles:
            if role not in WEIGHT_ROLES:
                raise ValueError(f"config, {where}: {unknown('role', role, WEIGHT_ROLES)}")
    for name, entry in entries.items():
        where = f"autoencoders.{name}"
        _check_duplicate(entry, entries)
        train = entry.get("train", {})
        if "objective" in train:
            _known(OBJECTIVES, train["objective"], f"{where}.train.objective")
        if train.get("init", name) not in entries:
            raise ValueError(f"config, {where}: {unknown('autoencoder', train['init'], entries)}")
        if "init" in train and not {"train", "weights"} & set(entries[train["init"]]):
            raise ValueError(f"config, {where}: 'init' is {train['init']!r}, which has no weights")
        if "init" in train and isinstance(entries[train["init"]].get("weights"), Mapping):
            raise ValueError(
                f"config, {where}: 'init' is {train['init']!r}, whose weights lie in several "
                "files; a training can only start from one"
            )
        if "teacher" in train and train["teacher"] not in config["networks"]:
            raise ValueError(
                f"config, {where}: {unknown('role', train['teacher'], config['networks'])}"
            )
    for name in entries:
        chain = [name]
        while (init := entries[chain[-1]].get("train", {}).get("init")) is not None:
            if init in chain:
                raise ValueError(f"config, autoencoders: 'init' runs in a circle: {chain}")
            chain.append(init)


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


def loss_networks(config: Config) -> dict[str, str]:
    """Role -> network, for the roles that the configured losses need, or use if they are there."""
    losses = [LOSSES[name] for name in config["diffusability"]["losses"]]
    roles = [role for loss in losses for role in (*loss.needs, *loss.uses)]
    players = config["networks"]
    return {role: players[role]["network"] for role in roles if role in players}


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
    samplers = [sampler["name"] for sampler in block["samplers"]]
    if len(set(samplers)) < len(samplers):
        raise ValueError(f"config, diffusion.samplers: a name stands twice in {samplers}")
    if "times" in samplers:
        raise ValueError(
            "config, diffusion.samplers: 'times' is the name of the scores of gFID(t); choose "
            "another"
        )
    for sampler in block["samplers"]:
        low, high = sampler.get("interval", (0, 1))
        if low > high:
            raise ValueError(
                f"config, diffusion.samplers: the interval {[low, high]} of {sampler['name']!r} "
                "ends before it begins; give the smaller time first"
            )
    if "gfid" in config:
        _check_gfid(config)


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
            _known(BACKBONES, backbone["name"], f"control.autoencoders.{name}.backbone")
            if backbone["name"] not in PUBLISHED_BACKBONES:
                raise ValueError(
                    f"config, control.autoencoders.{name}.backbone: {backbone['name']!r} cannot be "
                    f"controlled from its file; these can: {', '.join(PUBLISHED_BACKBONES)}, and a "
                    "SiT that the block 'diffusion' trains"
                )
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


def controlled_of(config: Config) -> list[tuple[str, Mapping[str, Any] | None]]:
    """Autoencoders of the control experiment, with the published backbone that each names."""
    listed = config.get("control", {}).get("autoencoders", [])
    return [
        (item["name"], item["backbone"]) if isinstance(item, Mapping) else (item, None)
        for item in listed
    ]


def sampler_like(config: Config, wanted: Mapping[str, Any]) -> str | None:
    """Name of the sampler of the block ``diffusion`` with the same settings, if there is one."""
    defaults = {"guidance": 1, "interval": [0, 1]}
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
        "quantisation": own_protocol(config).quantisation,
        "posterior": config["reconstruct"]["posterior"],
    }


def _known(registry: Any, name: str, where: str) -> None:
    try:
        registry[name]
    except ValueError as error:
        raise ValueError(f"config, {where}: {error}") from None
