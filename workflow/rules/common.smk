# Input functions, parameters and checks. Rules declare; what they need to look up is here.
import hashlib
import os
import re
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from seesaw.assets import assets_of, can_come, check, options_of, settle_time, weights_folder
from seesaw.catalogue import read_registry
from seesaw.config import (
    check_config,
    controlled_of,
    gfid_references,
    ifid_variants,
    load_yaml,
    loss_networks,
    protocol,
    resolve_autoencoders,
    same_images,
    sampler_like,
    samplers_of,
    segment_ends,
    segment_recipe,
)
from seesaw.data.imagenet import container_stamp
from seesaw.entries import completed
from seesaw.external import (
    absent_images,
    absent_weights,
    stop_words,
    weights_paths,
)
from seesaw.protocols.study import (
    crop_of,
    cropped_split,
    crops_of,
    lpips_players,
    network_of,
    own_protocol,
    protocols_for,
    protocols_of,
    recorded,
    reference_files,
    variant_players,
    with_derived_splits,
)
from seesaw.registry import (
    BACKBONES,
    CROPS,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    SOURCES,
    unknown,
)
from seesaw.theory import CLAIMS
from seesaw.versions import code_hash, family_version, stage_version

ROOT = Path(workflow.basedir)

try:
    config["autoencoders"] = resolve_autoencoders(
        config.get("autoencoders", []), read_registry(ROOT), weights_folder(config)
    )
    check_config(config, load_yaml(ROOT / "workflow/schemas/config.schema.yaml"))
    config["autoencoders"] = [
        completed(entry, config["data"]["resolution"]) for entry in config["autoencoders"]
    ]
    ASSETS = assets_of(config)
    config["data"]["splits"] = with_derived_splits(config)["data"]["splits"]
except ValueError as error:
    raise WorkflowError(str(error))

# What fetch_asset makes. Not what is there already, so that no file that a person has put there is
# ever made again or removed; but a job's own process must find its rule in any case.
WEIGHTS = weights_folder(config)
CAN_COME = can_come(ASSETS, config)
TO_FETCH = {
    path: asset
    for path, asset in CAN_COME.items()
    if not (workflow.is_main_process and path.exists())
}

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


ABSENT, USED = set(), set()


def note_absent(absent):
    """Remember what is not there. It stops a run before its first job, see onstart, but no plan.

    Where no onstart follows (--no-hooks, which the processes of a run's own jobs have as well), it
    stops at once.
    """
    ABSENT.add(absent)
    settings = workflow.execution_settings
    if settings is not None and settings.no_hooks and not workflow.dryrun:
        raise WorkflowError(stop_words(ABSENT))


def absent_of_run():
    """What the jobs lack that will run. A job that is done already needs its inputs no more."""
    ABSENT.clear()
    USED.clear()
    for job in workflow.dag.needrun_jobs():
        job.rule.expand_input(job.wildcards_dict)
    return ABSENT


onstart:
    if absent_of_run():
        raise WorkflowError(stop_words(ABSENT))
    check_assets(USED)
    if workflow.local_exec:
        # For each finished job Snakemake's limit of jobs per second leaves a timer behind that wakes
        # the scheduler once a second for ever: 40% of a core after 200 jobs. Here it has no use.
        workflow.scheduler.job_rate_limiter = None


def check_assets(paths):
    """Stop a run whose weights are not those of the registry or of the lock file."""
    wrong = []
    for path in sorted(set(paths) & set(ASSETS)):
        if path.exists():
            try:
                check(ASSETS[path], WEIGHTS, say=logger.info)
            except ValueError as error:
                wrong.append(str(error))
    if wrong:
        raise WorkflowError(
            "Weights are not what they were. No job was started.\n" + "\n".join(wrong)
        )


def settle_times():
    """Undo that Snakemake touches what was fetched: its time is that of its first fetch."""
    for asset in TO_FETCH.values():
        settle_time(asset, WEIGHTS)


onsuccess:
    settle_times()


onerror:
    settle_times()


def get_asset(wildcards):
    """All that is known of a file to fetch."""
    return ASSETS[WEIGHTS / wildcards.asset]


def get_version(stage, *more):
    """Version parameter of a rule: its stage's, and those of what the stage plugs in."""
    return "/".join([stage_version(stage), *more])


def get_data_version(wildcards):
    source = config["data"]["splits"][wildcards.split]["source"]
    return get_version("data", SOURCES[source].version, CROPS[get_crop(wildcards)].version)


def get_crop(wildcards):
    """Crop of a split: its own, or that of all."""
    return config["data"]["splits"][wildcards.split].get("crop", config["data"]["crop"])


def get_source(wildcards):
    """What a split is packed from."""
    block = config["data"]["splits"][wildcards.split]
    return {key: value for key, value in block.items() if key != "crop"}


def get_folder_stamp(wildcards):
    """Times of an image folder and of the folders in it: files that come or go change it."""
    source = config["data"]["splits"][wildcards.split]
    if source["source"] == "imagenet":
        return container_stamp(source)
    path = source.get("path")
    if path is None or not Path(path).is_dir():
        return None
    folders = [path, *sorted(entry.path for entry in os.scandir(path) if entry.is_dir())]
    times = "".join(f"{os.stat(folder).st_mtime_ns}\n" for folder in folders)
    return hashlib.sha256(times.encode()).hexdigest()[:16]


def get_folder(wildcards):
    """Folder of a split's images. Its time says nothing of the folders in it: see the stamp."""
    source = config["data"]["splits"][wildcards.split]
    absent = absent_images(wildcards.split, source)
    if absent:
        note_absent(absent)
    return ancient(source["path"]) if "path" in source and not absent else []


def get_packing_memory(wildcards, attempt, threads):
    """In MB: each process holds a shard and 250 MB beside it, measured at 256 pixels."""
    data = config["data"]
    shard = 3 * data["resolution"] ** 2 * data["shard_size"] / 1e6
    return attempt * int(1000 + threads * (250 + 1.2 * shard))


def get_network_version(wildcards):
    return get_version("conditions", NETWORKS[wildcards.network].version)


def get_metric_version(wildcards):
    """A metric that reads images runs its network itself, so that one's version counts too."""
    metric = METRICS[wildcards.metric]
    more = [NETWORKS[player(metric.role)].version] if runs_network(metric) else []
    return get_version("metrics", metric.version, *more)


def get_ifid_version(wildcards):
    names = sorted({variant["interpolation"] for variant in ifid_variants(config)})
    return "/".join(
        [get_family_version("ifid")(wildcards), *(INTERPOLATIONS[n].version for n in names)]
    )


def get_diffusability_version(wildcards):
    names = sorted(config["diffusability"]["losses"])
    return "/".join(
        [
            get_family_version("diffusability")(wildcards),
            *(f"{name} {LOSSES[name].version}" for name in names),
            *(f"{n} {NETWORKS[n].version}" for n in loss_networks(config).values()),
        ]
    )


def get_family_version(stage):
    def version(wildcards):
        try:
            return get_version(stage, family_version(AUTOENCODERS[wildcards.autoencoder]["family"]))
        except ValueError as error:
            raise WorkflowError(str(error))

    return version


def get_probe_version(wildcards):
    own = get_family_version("probes")(wildcards)
    networks = [NETWORKS[player(condition)].version for condition in PROBES["conditions"]]
    return "/".join([own, *networks])


def get_training_version(wildcards):
    objective = AUTOENCODERS[wildcards.autoencoder]["train"]["objective"]
    teacher = get_teacher(wildcards)
    more = [NETWORKS[teacher].version] if teacher else []
    return "/".join(
        [get_family_version("autoencoders")(wildcards), OBJECTIVES[objective].version, *more]
    )


def get_model(wildcards):
    """What builds an autoencoder. Its label and group are no part of it: they rerun nothing.

    Where its weights lie in several files, their roles, in the order of the input 'weights'.
    """
    entry = AUTOENCODERS[wildcards.autoencoder]
    model = {"family": entry["family"], "config": entry.get("config", {})}
    if isinstance(entry.get("weights"), dict):
        model["roles"] = list(entry["weights"])
    return model


def get_controlled_model(wildcards):
    """The same for control: a published backbone normalises raw latents itself."""
    model = get_model(wildcards)
    if CONTROLLED[wildcards.autoencoder] and model["config"].get("latents") == "normalized":
        model["config"] = {**model["config"], "latents": "raw"}
    return model


def get_training(wildcards):
    return AUTOENCODERS[wildcards.autoencoder].get("train", {})


def get_weights(wildcards):
    """Weights of an autoencoder: trained here, files that the config names, or none."""
    return weights_of_autoencoder(wildcards.autoencoder)


def weights_of_autoencoder(name):
    if "train" in AUTOENCODERS[name]:
        return f"<results>/autoencoders/{name}/weights.safetensors"
    return external_weights(f"autoencoder {name!r}", AUTOENCODERS[name])


def get_initial_weights(wildcards):
    init = get_training(wildcards).get("init")
    return weights_of_autoencoder(init) if init else []


def get_teacher(wildcards):
    """Name of the network that an autoencoder is aligned to or built on, or None."""
    role = get_training(wildcards).get("teacher")
    return config["networks"][role]["network"] if role else None


def get_teacher_weights(wildcards):
    teacher = get_teacher(wildcards)
    return weights_of_network(teacher) if teacher else []


def weights_of_network(network):
    if NETWORKS[network].weights == "trained" and "weights" not in PLAYERS[network]:
        return f"<results>/networks/{network}/weights.safetensors"
    return external_weights(f"network {network!r}", PLAYERS[network])


def external_weights(user, entry):
    """Weights files that the config names: inputs like any other, there or to be fetched."""
    absent = absent_weights(user, entry, CAN_COME)
    for file in absent:
        note_absent(file)
    USED.update(Path(path) for path in weights_paths(entry))
    paths = [] if absent else weights_paths(entry)
    return paths[0] if len(paths) == 1 and isinstance(entry["weights"], str) else paths


def get_patch_size(wildcards):
    """Side of the latent squares that become one token of the autoencoder's SiT."""
    return AUTOENCODERS[wildcards.autoencoder].get("patch_size", 1)


def segment_of(autoencoder, model, step):
    return f"<results>/diffusion/{autoencoder}/{model}/step{step:07d}.pt"


def get_segment_start(wildcards):
    """State that a segment starts from; the first has none."""
    earlier = [step for step in SEGMENTS if step < int(wildcards.step)]
    return segment_of(wildcards.autoencoder, wildcards.model, earlier[-1]) if earlier else []


def get_last_segment(wildcards):
    return segment_of(wildcards.autoencoder, wildcards.model, SEGMENTS[-1])


def get_sample_features(wildcards):
    source = f"{wildcards.autoencoder}@{wildcards.model}@{wildcards.sampler}"
    return f"<results>/conditions/{source}/{player('inception')}/manifest.json"


def get_control_version(stage):
    def version(wildcards):
        backbone = CONTROLLED[wildcards.autoencoder]
        own = get_family_version(stage)(wildcards)
        return f"{own}/{BACKBONES[backbone['name']].version}" if backbone else own

    return version


def get_backbone(wildcards):
    """Weights of the frozen diffusion model: a published file, or the SiT that is trained here."""
    name, backbone = wildcards.autoencoder, CONTROLLED[wildcards.autoencoder]
    if backbone:
        return external_weights(f"the backbone of {name!r}", backbone)
    return segment_of(name, CONTROL["model"], SEGMENTS[-1])


def get_backbone_latents(wildcards):
    """Statistics of the latents of a published backbone; a SiT has its own."""
    name, backbone = wildcards.autoencoder, CONTROLLED[wildcards.autoencoder]
    user = f"the backbone of {name!r}, to normalise latents"
    return external_weights(user, backbone["latents"]) if backbone else []


def get_backbone_options(wildcards):
    """Name and options of the frozen diffusion model, without its files."""
    backbone = CONTROLLED[wildcards.autoencoder]
    if backbone:
        return {key: backbone[key] for key in ("name", "config", "points") if key in backbone}
    return {"name": CONTROL["model"], "sampler": CONTROL["sampler"]}


def get_condition_maps(split):
    def path(wildcards):
        return f"<results>/conditions/{split}/{player(wildcards.condition)}/manifest.json"

    return path


def get_control_found(role=None):
    """What a network found in the samples under control; by default that of their condition."""

    def path(wildcards):
        source = f"{wildcards.autoencoder}@control@{wildcards.condition}"
        return f"<results>/conditions/{source}/{player(role or wildcards.condition)}/manifest.json"

    return path


def get_plain_found(role=None):
    """The same of samples without control, if the block diffusion draws such."""

    def path(wildcards):
        if CONTROLLED[wildcards.autoencoder] or PLAIN_LIKE is None:
            return []
        source = f"{wildcards.autoencoder}@{CONTROL['model']}@{PLAIN_LIKE}"
        return f"<results>/conditions/{source}/{player(role or wildcards.condition)}/manifest.json"

    return path


def get_references(wildcards):
    """What gFID compares with: features of splits, files of moments; a missing file has no path."""
    paths = [
        (
            external_weights(f"reference {name!r} of gFID", entry)
            if "weights" in entry
            else f"<results>/conditions/{name}/{player('inception')}/manifest.json"
        )
        for name, entry in REFERENCES.items()
    ]
    return [path for path in paths if path]


def get_network_weights(wildcards):
    return weights_of_network(wildcards.network)


def get_images(source):
    if source in config["data"]["splits"]:
        return f"<results>/data/{source}/manifest.json"
    if source in SAMPLES | CONTROL_SAMPLES:
        return f"{(SAMPLES | CONTROL_SAMPLES)[source]}/manifest.json"
    return f"<results>/reconstruct/{source}/manifest.json"


def get_samples(wildcards):
    """Samples of every autoencoder, model and sampler, in the order of SAMPLES."""
    return [get_images(source) for source in SAMPLES]


def get_builds(wildcards):
    """What tables of the autoencoders say of them beside their labels."""
    return {
        name: {"family": entry["family"], "patch_size": entry.get("patch_size", 1)}
        for name, entry in AUTOENCODERS.items()
    }


def get_own_scores(wildcards):
    """scores.csv of this run and what is in it, if it is there.

    A parameter: as an input, with or without ancient(), Snakemake would make it, which is the whole
    study. So the table is remade when the file has come, gone or changed, and never asks for it.
    (A parameter that is a function of the output would not count as changed.)
    """
    path = Path(workflow.pathvars.apply("<results>/tables/scores.csv"))
    if not path.is_file():
        return {}
    return {"path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()[:16]}


def get_source_images(wildcards):
    return get_images(wildcards.source)


def player(role):
    """Name of the network that plays a role, or None."""
    return config["networks"].get(role, {}).get("network")


def get_metric_network(wildcards):
    return player(METRICS[wildcards.metric].role)


def get_metric_input(source):
    """What a metric reads of a source: its images, or what the metric's network found in them."""

    def path(wildcards):
        name = source or wildcards.autoencoder
        if METRICS[wildcards.metric].reads == "images":
            return get_images(name)
        return f"<results>/conditions/{name}/{get_metric_network(wildcards)}/manifest.json"

    return path


def get_metric_weights(wildcards):
    """Only a metric that reads images runs its network itself."""
    metric = METRICS[wildcards.metric]
    return weights_of_network(player(metric.role)) if runs_network(metric) else []


def runs_network(metric):
    return metric.reads == "images" and metric.role is not None


def get_loss_weights(role):
    """Weights of the network that plays a role, if a diffusability loss rests on it."""

    def path(wildcards):
        networks = loss_networks(config)
        return weights_of_network(networks[role]) if role in networks else []

    return path


def get_loss_images(wildcards):
    """The split that losses are fitted on, if one of them is."""
    fits = any(LOSSES[name].fits for name in config["diffusability"]["losses"])
    return get_images("train") if fits else []


def get_protocols_version(wildcards):
    """The stage's, and those of all that it plugs in: metrics and networks."""
    networks = {
        network for _, network, _ in protocol_features(wildcards.crop, wildcards.autoencoder)
    }
    networks |= set(lpips_players(config).values())
    return "/".join(
        [
            get_family_version("protocols")(wildcards),
            *(METRICS[name].version for name in ("rfid", "psnr", "ssim", "lpips")),
            *(f"{name} {NETWORKS[name].version}" for name in sorted(networks)),
        ]
    )


def get_cropped_images(wildcards):
    return get_images(cropped_split(config, EVALUATION, wildcards.crop))


def get_protocol_references(wildcards):
    """What rFID is taken against: features of splits, files of moments; see protocol_features."""
    paths = [
        (
            f"<results>/conditions/{split}/{network}/manifest.json"
            if split is not None
            else external_weights(f"reference {name!r} of rFID", reference_files(config)[name])
        )
        for split, network, name in protocol_features(wildcards.crop, wildcards.autoencoder)
    ]
    return [path for path in paths if path]


def get_protocol_lpips(wildcards):
    """LPIPS network -> who plays it, of those that the protocols of a crop ask for."""
    nets = {p.lpips for p in protocols_of(config).values() if p.crop == wildcards.crop}
    return {net: name for net, name in lpips_players(config).items() if net in nets}


def get_lpips_weights(net):
    """Weights of an LPIPS network, if protocols ask for it and it has any."""

    def path(wildcards):
        network = get_protocol_lpips(wildcards).get(net)
        return weights_of_network(network) if network and NETWORKS[network].weights else []

    return path


def get_protocol(wildcards=None):
    return protocol(config)


def splits_overlap():
    """Whether the evaluation and the reference split can hold the same image under the same id."""
    a, b = (config["data"]["splits"][split] for split in (EVALUATION, REFERENCE))
    return EVALUATION == REFERENCE or same_images(a, b)


def get_labels(wildcards):
    """How tables and figures call the autoencoders."""
    return [
        {key: entry.get(key, "") for key in ("name", "group", "training", "duplicate_of")}
        for entry in AUTOENCODERS.values()
    ]


def get_all_scores(wildcards):
    scores = expand(
        "<results>/metrics/{autoencoder}/{metric}.json",
        autoencoder=AUTOENCODERS,
        metric=config["metrics"],
    )
    scores += expand(
        "<results>/protocols/{autoencoder}/{crop}.json",
        autoencoder=SCORED,
        crop=crops_of(config),
    )
    if "ifid" in config:
        scores += expand("<results>/ifid/{autoencoder}/scores.json", autoencoder=AUTOENCODERS)
    scores += expand(
        "<results>/probes/{autoencoder}/{condition}.json",
        autoencoder=PROBED,
        condition=PROBES["conditions"],
    )
    if "gfid" in config:
        scores += expand(
            "<results>/gfid/{autoencoder}/{model}/{part}.json",
            autoencoder=DIFFUSED,
            model=MODELS,
            part=[*SAMPLERS, *(["times"] if config["gfid"].get("times") else [])],
        )
    scores += expand(
        "<results>/control/{autoencoder}/{condition}/scores.json",
        autoencoder=CONTROLLED,
        condition=CONTROL["conditions"],
    )
    if "diffusability" in config:
        scores += expand(
            "<results>/diffusability/{autoencoder}/scores.json", autoencoder=AUTOENCODERS
        )
    return scores


def get_quality(wildcards):
    trained = [n for n in PLAYERS if NETWORKS[n].trainer and "weights" not in PLAYERS[n]]
    return expand("<results>/networks/{network}/quality.json", network=trained)


TABLES = [
    "table1",
    "table2",
    "table3",
    "table4",
    "table5",
    "generation",
    "ifid_table1",
    "ifid_table2",
    "ifid_table3",
    "ifid_table4",
    "ifid_table5",
    "correlations",
    "protocols",
    "protocol_sweep",
    "diffusability_losses",
    "network_quality",
    "autoencoder_properties",
]
FIGURES = [
    "figure1",
    "figure2",
    "figure3",
    "figure4",
    "figure5",
    "figure6",
    "figure7",
    "figure8",
    "figure9",
    "gfid_t",
    "ifid_figure1",
    "ifid_figure2",
    "ifid_figure5",
    "autoencoder_grid",
    "probe_strip",
    "sample_grid",
    "scenes",
]
PER_AUTOENCODER = ["gallery"]
GFID = ("the block 'gfid'", "gfid" in config)
TIMES = ("times in the block 'gfid'", bool(config.get("gfid", {}).get("times")))
NEEDS = {
    "autoencoder_grid": ("the metric 'psnr'", "psnr" in config["metrics"]),
    "diffusability_losses": ("the block 'diffusability'", "diffusability" in config),
    "figure1": GFID,
    "figure4": ("the block 'control'", "control" in config),
    "gallery": ("the metric 'psnr'", "psnr" in config["metrics"]),
    "generation": GFID,
    "gfid_t": TIMES,
    "ifid_figure1": GFID,
    "ifid_figure2": TIMES,
    "ifid_figure5": ("the block 'ifid'", "ifid" in config),
    "ifid_table1": TIMES,
    "ifid_table3": GFID,
    "ifid_table4": ("the block 'ifid'", "ifid" in config),
    "ifid_table5": ("the block 'ifid'", "ifid" in config),
    "protocols": ("the block 'protocols'", "protocols" in config),
    "protocol_sweep": (
        "sweep in the block 'protocols'",
        bool(config.get("protocols", {}).get("sweep")),
    ),
    "probe_strip": ("the block 'probes'", "probes" in config),
    "sample_grid": ("the block 'diffusion'", "diffusion" in config),
    "table3": ("the block 'control'", "control" in config),
    "table4": ("the block 'control'", "control" in config),
    "scenes": (
        "images of the source 'mini'",
        config["data"]["splits"][EVALUATION]["source"] == "mini",
    ),
    "network_quality": (
        "a network that is trained here",
        any(NETWORKS[n].trainer and "weights" not in PLAYERS[n] for n in PLAYERS),
    ),
}
GALLERY_METRICS = [m for m in ("psnr", "canny", "depth", "segmentation") if m in config["metrics"]]
GALLERY_ROLES = [r for r in ("canny", "depth", "segmentation", "face") if player(r)]

for item in config["report"]["items"]:
    if item not in TABLES + FIGURES + PER_AUTOENCODER:
        raise WorkflowError(
            f"config, report.items: {unknown('item', item, TABLES + FIGURES + PER_AUTOENCODER)}"
        )
    if not NEEDS.get(item, ("", True))[1]:
        raise WorkflowError(
            f"config, report.items: {item!r} needs {NEEDS[item][0]}, which this config lacks; "
            "add it, or leave the item out"
        )


def get_tables(wildcards):
    names = [item for item in config["report"]["items"] if item in TABLES]
    return expand("<results>/tables/{item}.csv", item=names)


def get_figures(wildcards):
    names = [item for item in config["report"]["items"] if item in FIGURES]
    galleries = [item for item in config["report"]["items"] if item in PER_AUTOENCODER]
    return expand("<results>/figures/{item}.png", item=names) + expand(
        "<results>/figures/{item}/{autoencoder}.png",
        item=galleries,
        autoencoder=AUTOENCODERS,
    )


def get_captions(wildcards):
    return [str(ROOT / f"workflow/report/{item}.rst") for item in config["report"]["items"]]


def get_gallery_conditions(source):
    def paths(wildcards):
        name = source or wildcards.autoencoder
        return [
            f"<results>/conditions/{name}/{player(role)}/manifest.json" for role in GALLERY_ROLES
        ]

    return paths


def get_claim_code(wildcards):
    return code_hash(f"seesaw.theory.{wildcards.claim}")
