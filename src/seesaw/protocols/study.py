"""What a config asks for in its block ``protocols``: protocols, splits, networks, references.

Torch-free: it runs whenever Snakemake parses the workflow.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from seesaw.protocols import (
    AXES,
    EVALUATION,
    LPIPS_NETWORKS,
    NETWORKS_OF,
    OWN,
    PROTOCOLS,
    READY_MADE,
    Protocol,
)
from seesaw.registry import ROLES, unknown

Config = Mapping[str, Any]
TRAIN = "train"
TAKEN = ("of-mean-mse", "shuffled", "zero", "sweep")
"""Variants of scores that are something else."""


def crop_of(config: Config, split: str) -> str:
    """How the images of a split become squares: its own ``crop``, else ``data.crop``."""
    source = config["data"]["splits"][split]
    if source["source"] == "mini":
        return READY_MADE
    return str(source.get("crop", config["data"]["crop"]))


def cropped_split(config: Config, split: str, crop: str) -> str:
    """Name of the split with the same images in another crop; itself where it has that one."""
    same = crop in (READY_MADE, crop_of(config, split)) or crop_of(config, split) == READY_MADE
    return split if same else f"{split}-{crop}"


def derived_splits(config: Config) -> dict[str, dict[str, Any]]:
    """Splits that the protocols need beside those of the config: name -> its block.

    Raises:
        ValueError: the config has a split of such a name.
    """
    given, found = config["data"]["splits"], {}
    for protocol in protocols_of(config).values():
        for split in (config["data"]["evaluation"], protocol.reference):
            if split not in given:
                continue  # a file of moments
            name = cropped_split(config, split, protocol.crop)
            if name != split:
                found[name] = {**given[split], "crop": protocol.crop}
    for name in set(found) & set(given):
        if dict(given[name]) != found[name]:
            raise ValueError(
                f"config, data.splits.{name}: protocols make a split of this name, the same images "
                "in another crop; give yours another name"
            )
    return {name: block for name, block in found.items() if name not in given}


def with_derived_splits(config: Config) -> dict[str, Any]:
    """The config with :func:`derived_splits` among its splits."""
    splits = {**config["data"]["splits"], **derived_splits(config)}
    return {**config, "data": {**config["data"], "splits": splits}}


def protocols_of(config: Config) -> dict[str, Protocol]:
    """Protocols that are scored, by name, as they apply to this config.

    Where the evaluation images come ready-made, or the feature network has one resize only,
    protocols that differ in nothing else coincide.
    """
    block = config.get("protocols", {"scored": []})
    return {
        name: applied(config, protocol) for name, protocol in map(protocol_of_item, block["scored"])
    }


def protocol_of_item(item: str | Mapping[str, str]) -> tuple[str, Protocol]:
    """Name and protocol of an entry of ``protocols.scored``.

    Raises:
        ValueError: an unknown preset, or a value that its axis does not have.
    """
    name, like = (item, item) if isinstance(item, str) else (item["name"], item.get("like"))
    base = "seesaw" if like is None else like
    if base not in PROTOCOLS:
        raise unknown("protocol", base, PROTOCOLS)
    axes = {} if isinstance(item, str) else {k: v for k, v in item.items() if k in (*AXES, REF)}
    return name, replace(PROTOCOLS[base].protocol, **axes)


REF = "reference"


def applied(config: Config, protocol: Protocol) -> Protocol:
    """A protocol as it applies to the config: its split by name, crop and resize if there are."""
    evaluation = config["data"]["evaluation"]
    ready = crop_of(config, evaluation) == READY_MADE
    return replace(
        protocol,
        crop=READY_MADE if ready else protocol.crop,
        resize=protocol.resize if own_resize(config) != OWN else OWN,
        reference=evaluation if protocol.reference == EVALUATION else protocol.reference,
    )


def own_resize(config: Config) -> str:
    """Resize of the network that plays Inception; :data:`OWN` if it is another network."""
    network = config["networks"].get("inception", {}).get("network")
    return next((resize for resize, name in NETWORKS_OF.items() if name == network), OWN)


def own_protocol(config: Config) -> Protocol:
    """The protocol of the run's other numbers."""
    reconstruct = config["reconstruct"]
    protocol = Protocol(
        crop=crop_of(config, config["data"]["evaluation"]),
        quantisation=reconstruct.get("quantisation", "uint8-round"),
        resize=own_resize(config),
        posterior=reconstruct["posterior"],
    )
    return applied(config, protocol)


def network_of(config: Config, protocol: Protocol) -> str:
    """The network that computes a protocol's features."""
    return NETWORKS_OF.get(protocol.resize, config["networks"]["inception"]["network"])


def reference_files(config: Config) -> dict[str, Mapping[str, Any]]:
    """Files of moments that rFID can be taken against: name -> entry of ``gfid.references``."""
    listed = config.get("gfid", {}).get("references", [])
    return {
        item["name"]: item for item in listed if isinstance(item, Mapping) and "weights" in item
    }


def sweep_of(config: Config) -> list[Protocol]:
    """Protocols of the sweep: every combination of the axes that move rFID.

    Crops are those of the scored protocols; references are the evaluation split and the files of
    moments. ``train`` is one only where a scored protocol has it, with that one's crop and resize,
    because nothing else asks for features of it.
    """
    scored = protocols_of(config).values()
    evaluation = config["data"]["evaluation"]
    resizes = list(AXES["resize"]) if own_resize(config) != OWN else [OWN]
    trained = {(p.crop, p.resize) for p in scored if p.reference == TRAIN != evaluation}
    product = itertools.product(
        dict.fromkeys(p.crop for p in scored),
        AXES["quantisation"],
        resizes,
        AXES["posterior"],
        [evaluation, *reference_files(config), *([TRAIN] if trained else [])],
    )
    return [
        Protocol(crop=crop, quantisation=q, resize=resize, posterior=posterior, reference=reference)
        for crop, q, resize, posterior, reference in product
        if reference != TRAIN or (crop, resize) in trained or evaluation == TRAIN
    ]


def protocols_for(config: Config, autoencoder: str, crop: str) -> dict[str, Protocol]:
    """What a job computes: variant -> protocol, of those scored and of the sweep."""
    found = {name: p for name, p in protocols_of(config).items() if p.crop == crop}
    if autoencoder in config["protocols"].get("sweep", []):
        found |= {p.sweep_variant: p for p in sweep_of(config) if p.crop == crop}
    return found


def crops_of(config: Config) -> list[str]:
    """Crops of the protocols that are scored: a job of each autoencoder for each."""
    return list(dict.fromkeys(p.crop for p in protocols_of(config).values()))


def variant_players(config: Config) -> dict[str, Mapping[str, Any]]:
    """Networks that protocols need beside those of the config: name -> how it is played."""
    if "protocols" not in config:
        return {}
    player = config["networks"]["inception"]
    resizes = {p.resize for p in protocols_of(config).values()}
    if config["protocols"].get("sweep"):
        resizes |= {p.resize for p in sweep_of(config)}
    names = [NETWORKS_OF[resize] for resize in AXES["resize"] if resize in resizes]
    return {name: {**player, "network": name} for name in names if name != player["network"]}


def check_protocols(config: Config) -> None:
    """Raise unless the block ``protocols`` makes sense.

    Raises:
        ValueError: where, what was given, what is allowed.
    """
    if "protocols" not in config:
        return
    block, where = config["protocols"], "config, protocols"
    if "inception" not in config["networks"]:
        raise ValueError(f"{where}: rFID needs a network for the role 'inception'")
    names = []
    for item in block["scored"]:
        try:
            name, protocol = protocol_of_item(item)
        except ValueError as error:
            raise ValueError(f"{where}.scored: {error}") from None
        if not isinstance(item, str) and name in (*PROTOCOLS, *TAKEN):
            raise ValueError(
                f"{where}.scored: {name!r} is the name of something else; choose another"
            )
        valid = [config["data"]["evaluation"], *reference_files(config)]
        valid += [TRAIN] if TRAIN in config["data"]["splits"] else []
        if protocol.reference not in (EVALUATION, *valid):
            raise ValueError(f"{where}.scored.{name}: {unknown(REF, protocol.reference, valid)}")
        names.append(name)
    if len(set(names)) < len(names):
        raise ValueError(f"{where}.scored: a name stands twice in {names}")
    pool = [entry["name"] for entry in config["autoencoders"]]
    for key in ("autoencoders", "sweep"):
        for name in block.get(key, []):
            if name not in pool:
                raise ValueError(f"{where}.{key}: {unknown('autoencoder', name, pool)}")
    for name in block.get("sweep", []):
        if name not in block.get("autoencoders", [name]):
            raise ValueError(f"{where}.sweep: {name!r} is not in protocols.autoencoders; add it")
    derived_splits(config)
    lpips_players(config)


def recorded(protocol: Protocol) -> dict[str, str]:
    """Its axes, as they stand in the protocol of a score."""
    return asdict(protocol)


def lpips_players(config: Config) -> dict[str, str]:
    """LPIPS network (``alex``, ``vgg``) -> registered network that is one and plays a role.

    Raises:
        ValueError: two of them are one, each in a role of its own.
    """
    players, found = config["networks"], {}
    for role in (role for role in ROLES if "perceptual" in ROLES[role] and role in players):
        name = players[role]["network"]
        for net in (net for net, names in LPIPS_NETWORKS.items() if name in names):
            if found.setdefault(net, name) != name:
                raise ValueError(
                    f"config, networks.{role}: {name!r} is LPIPS with {net}, and so is "
                    f"{found[net]!r}, which plays another role; protocols cannot tell which to "
                    "take, so leave one out"
                )
    return found
