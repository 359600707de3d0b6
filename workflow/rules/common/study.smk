# The study by name: what the config asks for, and the constraints of its wildcards.
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError

from seesaw.assets import assets_of
from seesaw.catalogue import read_registry
from seesaw.config import (
    controlled_of,
    gfid_references,
    left_out,
    load_yaml,
    sampler_like,
    samplers_of,
    segment_ends,
)
from seesaw.protocols.study import (
    cropped_split,
    crops_of,
    network_of,
    own_protocol,
    protocols_for,
    variant_players,
)
from seesaw.resolved import resolved

ROOT = Path(workflow.basedir)

# --config diffusion=null leaves the block and the items that need it out.
LEFT_OUT = left_out(config)

try:
    found = resolved(
        config, read_registry(ROOT), load_yaml(ROOT / "workflow/schemas/config.schema.yaml")
    )
    ASSETS = assets_of(found)
except ValueError as error:
    raise WorkflowError(str(error))
config.clear()
config.update(found)

AUTOENCODERS = {entry["name"]: entry for entry in config["autoencoders"]}
# Weights that repeat another entry's are measured, but nothing is trained on them unless asked for.
DISTINCT = [name for name, entry in AUTOENCODERS.items() if "duplicate_of" not in entry]
PLAYERS = {
    **{player["network"]: player for player in config["networks"].values()},
    **variant_players(config),
}
EVALUATION = config["data"]["evaluation"]
REFERENCE = config["data"]["reference"]
# What the numbers of the study itself are made by, and who is scored by other protocols as well.
OWN_PROTOCOL = own_protocol(config)
SCORED = config.get("protocols", {}).get("autoencoders", DISTINCT if "protocols" in config else [])
# The split that probes learn from; condition maps of it are made only where there are probes.
PROBES = config.get("probes", {"conditions": []})
PROBED = PROBES.get("autoencoders", DISTINCT if "probes" in config else [])

# Diffusion models: one per autoencoder and size, trained in segments, sampled in several ways. The
# first size and sampler are those that plain "gFID" stands for.
DIFFUSION = config.get("diffusion", {})
DIFFUSED = DIFFUSION.get("autoencoders", DISTINCT if DIFFUSION else [])
MODELS = DIFFUSION.get("models", [])
SEGMENTS = segment_ends(DIFFUSION)
SAMPLERS = {s["name"]: {k: v for k, v in s.items() if k != "name"} for s in samplers_of(config)}
PLAIN = (MODELS[0], next(iter(SAMPLERS))) if DIFFUSION else (None, None)
REFERENCES = {ref["name"]: ref for ref in gfid_references(config)}
SAMPLES = {
    f"{name}@{model}@{sampler}": f"<results>/diffusion/{name}/{model}/samples/{sampler}"
    for name in DIFFUSED
    for model in MODELS
    for sampler in SAMPLERS
}

# ControlNet: autoencoder -> its published backbone, or None: the SiT that is trained here. PLAIN_LIKE
# is the sampler whose plain samples have the same noise and settings as those under control.
CONTROL = config.get("control", {"conditions": []})
CONTROLLED = dict(controlled_of(config))
PLAIN_LIKE = sampler_like(config, CONTROL["sampler"]) if "sampler" in CONTROL else None
CONTROL_IMAGES = CONTROL.get("images", "all")
CONTROL_SAMPLES = {
    f"{name}@control@{condition}": f"<results>/control/{name}/{condition}/samples"
    for name in CONTROLLED
    for condition in CONTROL["conditions"]
}

# Images at a time. A machine's affair, hence resources, which rerun nothing when they change:
# a profile may set them (set-resources: {reconstruct_images: {batch_size: 16}}).
BATCH_SIZE = 64
FEATURE_BATCH_SIZE = 128
SAMPLE_BATCH_SIZE = 250


def player(role):
    """Name of the network that plays a role, or None."""
    return config["networks"].get(role, {}).get("network")


def protocol_features(crop, autoencoder=None):
    """(split, network, reference) of the features that protocols compare with; files have no split.

    Of one crop and autoencoder, or of all.
    """
    names, crops = [autoencoder] if autoencoder else SCORED, [crop] if crop else crops_of(config)
    found = {}
    for protocol in (p for n in names for c in crops for p in protocols_for(config, n, c).values()):
        at = (network_of(config, protocol), protocol.reference)
        known = protocol.reference in config["data"]["splits"]
        found[at] = cropped_split(config, protocol.reference, protocol.crop) if known else None
    return [(split, *at) for at, split in found.items()]


def any_of(names):
    return "|".join(map(re.escape, names)) or "none"


wildcard_constraints:
    autoencoder=any_of(AUTOENCODERS),
    split=any_of(config["data"]["splits"]),
    network=any_of(PLAYERS),
    source=any_of(
        [
            EVALUATION,
            *(["train"] if PROBED or CONTROLLED else []),
            *(split for split, *_ in protocol_features(None) if split is not None),
            *AUTOENCODERS,
            *SAMPLES,
            *CONTROL_SAMPLES,
        ]
    ),
    condition=any_of(CONTROL["conditions"]),
    model=any_of(MODELS),
    sampler=any_of(SAMPLERS),
    step=r"\d{7}",
    crop=any_of(crops_of(config)),
    metric=any_of(config["metrics"]),
    part=r"\d+",
    stage=r"\w+",
