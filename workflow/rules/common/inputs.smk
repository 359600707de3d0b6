# What jobs read: images, samples, condition maps, references, and by which protocol.
from seesaw.config import protocol, same_images
from seesaw.data.folder import folder_stamp
from seesaw.data.imagenet import container_stamp
from seesaw.external import absent_images
from seesaw.limits import latents_mb
from seesaw.protocols.study import cropped_split, lpips_players, protocols_of, reference_files
from seesaw.registry import LOSSES, METRICS


def get_source(wildcards):
    """What a split is packed from."""
    block = config["data"]["splits"][wildcards.split]
    return {key: value for key, value in block.items() if key != "crop"}


def get_crop(wildcards):
    """Crop of a split: its own, or that of all."""
    return config["data"]["splits"][wildcards.split].get("crop", config["data"]["crop"])


def get_folder(wildcards):
    """Folder of a split's images. Its time says nothing of the folders in it: see the stamp."""
    source = config["data"]["splits"][wildcards.split]
    absent = absent_images(wildcards.split, source)
    if absent:
        note_absent(absent)
    return ancient(source["path"]) if "path" in source and not absent else []


def get_folder_stamp(wildcards):
    """Times of what holds a split's images: files that come or go change it."""
    source = config["data"]["splits"][wildcards.split]
    if source["source"] == "imagenet":
        return container_stamp(source)
    return folder_stamp(source["path"]) if "path" in source else None


def get_packing_memory(wildcards, attempt, threads):
    """In MB: each process holds a shard and 250 MB beside it, measured at 256 pixels."""
    data = config["data"]
    shard = 3 * data["resolution"] ** 2 * data["shard_size"] / 1e6
    return attempt * int(1000 + threads * (250 + 1.2 * shard))


def get_loss_memory(wildcards):
    """In MB: the GMM loss keeps the latents of its training images."""
    images = config["diffusability"].get("train_images", 0)
    kept = latents_mb(AUTOENCODERS[wildcards.autoencoder], images)
    return max(16000, 8000 + int(1.1 * kept))


def splits_overlap():
    """Whether the evaluation and the reference split can hold the same image under the same id."""
    a, b = (config["data"]["splits"][split] for split in (EVALUATION, REFERENCE))
    return EVALUATION == REFERENCE or same_images(a, b)


def get_images(source):
    if source in config["data"]["splits"]:
        return f"<results>/data/{source}/manifest.json"
    if source in SAMPLES | CONTROL_SAMPLES:
        return f"{(SAMPLES | CONTROL_SAMPLES)[source]}/manifest.json"
    return f"<results>/reconstruct/{source}/manifest.json"


def get_source_images(wildcards):
    return get_images(wildcards.source)


def get_cropped_images(wildcards):
    return get_images(cropped_split(config, EVALUATION, wildcards.crop))


def get_loss_images(wildcards):
    """The split that losses are fitted on, if one of them is."""
    fits = any(LOSSES[name].fits for name in config["diffusability"]["losses"])
    return get_images("train") if fits else []


def get_samples(wildcards):
    """Samples of every autoencoder, model and sampler, in the order of SAMPLES."""
    return [get_images(source) for source in SAMPLES]


def get_sample_features(wildcards):
    source = f"{wildcards.autoencoder}@{wildcards.model}@{wildcards.sampler}"
    return f"<results>/conditions/{source}/{player('inception')}/manifest.json"


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


def get_protocol(wildcards=None):
    return protocol(config)


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
