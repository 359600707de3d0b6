# Weights and what they build: autoencoders, networks, teachers, diffusion models, backbones.
from pathlib import Path

from seesaw.config import loss_networks
from seesaw.external import absent_weights, weights_paths
from seesaw.registry import METRICS, NETWORKS


def external_weights(user, entry):
    """Weights files that the config names: inputs like any other, there or to be fetched."""
    absent = absent_weights(user, entry, CAN_COME)
    for file in absent:
        note_absent(file)
    USED.update(Path(path) for path in weights_paths(entry))
    paths = [] if absent else weights_paths(entry)
    return paths[0] if len(paths) == 1 and isinstance(entry["weights"], str) else paths


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


def get_network_weights(wildcards):
    return weights_of_network(wildcards.network)


def weights_of_network(network):
    if NETWORKS[network].weights == "trained" and "weights" not in PLAYERS[network]:
        return f"<results>/networks/{network}/weights.safetensors"
    return external_weights(f"network {network!r}", PLAYERS[network])


def runs_network(metric):
    return metric.reads == "images" and metric.role is not None


def get_metric_weights(wildcards):
    """Only a metric that reads images runs its network itself."""
    metric = METRICS[wildcards.metric]
    return weights_of_network(player(metric.role)) if runs_network(metric) else []


def get_loss_weights(role):
    """Weights of the network that plays a role, if a diffusability loss rests on it."""

    def path(wildcards):
        networks = loss_networks(config)
        return weights_of_network(networks[role]) if role in networks else []

    return path


def get_lpips_weights(net):
    """Weights of an LPIPS network, if protocols ask for it and it has any."""

    def path(wildcards):
        network = get_protocol_lpips(wildcards).get(net)
        return weights_of_network(network) if network and NETWORKS[network].weights else []

    return path


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
