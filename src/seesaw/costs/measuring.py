"""Costs of the rules that measure an autoencoder, and of those that prepare it."""

import math
from collections.abc import Callable, Mapping

from seesaw.assets import assets_of, weights_folder
from seesaw.config import ifid_variants
from seesaw.costs.assumptions import network_rate, rate
from seesaw.costs.flops import autoencoder_flops, latent_shape
from seesaw.costs.study import Cost, Job, Study, control_images
from seesaw.costs.work import encoding_hours
from seesaw.protocols.study import protocols_for
from seesaw.registry import METRICS, NETWORKS


def _fetch_asset(job: Job, study: Study) -> Cost:
    asset = assets_of(study.config).get(weights_folder(study.config) / job.wildcards["asset"])
    size = (asset.size or asset.about) if asset else None
    return Cost(0.0, None if size is None else float(size))


def _pack_images(job: Job, study: Study) -> Cost:
    count = study.images(job.wildcards["split"])
    return Cost(0.0, None if count is None else count * study.image_bytes)


def _train_network(job: Job, study: Study) -> Cost:
    return Cost()  # only networks of the mini world are trained: seconds, and not on this device


def _train_autoencoder(job: Job, study: Study) -> Cost:
    entry = study.autoencoder(job.wildcards["autoencoder"])
    flops, parameters, train = autoencoder_flops(entry), entry.get("parameters"), entry["train"]
    kept = 4.0 * parameters if parameters else None
    if flops is None or "batch_size" not in train:
        return Cost(None, kept)
    work = 3 * sum(flops) * train["steps"] * train["batch_size"]
    return Cost(work / rate("autoencoder") / 3600, kept)


def _reconstruct_images(job: Job, study: Study) -> Cost:
    entry = study.autoencoder(job.wildcards["autoencoder"])
    count, flops, shape = study.evaluation, autoencoder_flops(entry), latent_shape(entry)
    if count is None:
        return Cost()
    return Cost(
        None if flops is None else count * sum(flops) / rate("autoencoder") / 3600,
        None if shape is None else count * (study.image_bytes + 4.0 * math.prod(shape)),
    )


def _extract_conditions(job: Job, study: Study) -> Cost:
    network, source = job.wildcards["network"], job.wildcards["source"]
    kind = NETWORKS[network].kind
    count = study.images(source) if source in study.config["data"]["splits"] else study.evaluation
    if "@control@" in source:
        count = control_images(study)
    if count is None:
        return Cost()
    resolution = study.config["data"]["resolution"]
    side = NETWORKS[network].options.get("resize", resolution) if kind == "edges" else resolution
    pixels = resolution**2
    each = {
        "edges": side**2,
        "map": pixels,
        "labels": pixels,
        "features": 4 * 2048,
        "faces": 4 * 518,
    }
    seconds = 0.0 if kind == "edges" else count / network_rate(network)
    return Cost(seconds / 3600, float(count * each[kind]))


def _score_metric(job: Job, study: Study) -> Cost:
    count, metric = study.evaluation, METRICS[job.wildcards["metric"]]
    if count is None:
        return Cost()
    if metric.reads != "images" or metric.role is None:
        return Cost(0.0, 100.0 * count)
    network = study.option(f"networks.{metric.role}.network", None)
    speed = rate("perceptual") if network is None else network_rate(network)
    return Cost(count / speed / 3600, 100.0 * count)


def _score_protocols(job: Job, study: Study) -> Cost:
    """Per posterior one pass of the autoencoder; features and LPIPS as often as they differ."""
    name = job.wildcards["autoencoder"]
    flops, count = autoencoder_flops(study.autoencoder(name)), study.evaluation
    if flops is None or count is None:
        return Cost()
    every = protocols_for(study.config, name, job.wildcards["crop"])
    posteriors = {p.posterior for p in every.values()}
    features = {(p.posterior, p.quantisation, p.resize) for p in every.values()}
    pairs = {
        (p.posterior, p.quantisation, p.similarity, p.range, p.lpips)
        for variant, p in every.items()
        if not variant.startswith("sweep ")
    }
    networks = {"alex": "perceptual", "vgg": "lpips-vgg"}
    each = len(posteriors) * sum(flops) / rate("autoencoder") + len(features) / rate("features")
    each += sum(1 / rate(networks[net]) for *_, net in pairs)
    return Cost(count * each / 3600)


def _find_neighbours(job: Job, study: Study) -> Cost:
    entry, options = study.autoencoder(job.wildcards["autoencoder"]), study.config["neighbours"]
    flops, shape, count = autoencoder_flops(entry), latent_shape(entry), study.evaluation
    pool = study.images(study.config["data"]["reference"])
    if count is None or pool is None:
        return Cost()
    sizes = [pool if size == "all" else size for size in options["references"]]
    tables = len(sizes) * len(options["distances"])
    kept = float(count * options["k"] * tables * 40)
    if flops is None or shape is None:
        return Cost(None, kept)
    references = max(sizes) / options["parts"]
    search = 2.0 * count * math.prod(shape) * len(options["distances"])
    seconds = references * (flops[0] / rate("autoencoder") + search / rate("search"))
    return Cost(seconds / 3600, kept)


def _score_ifid(job: Job, study: Study) -> Cost:
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    count = study.evaluation
    if count is None or flops is None:
        return Cost()
    variants = {tuple(sorted(variant.items(), key=str)) for variant in ifid_variants(study.config)}
    each = sum(flops) / rate("autoencoder") + 1 / rate("features")
    return Cost(len(variants) * count * each / 3600)


def _train_probe(job: Job, study: Study) -> Cost:
    """Of all conditions, if training never stops early."""
    count = study.option("probes.train_images", "all")
    count = study.images("train") if count == "all" else count
    if count is None:
        return Cost()
    epochs, conditions = study.option("probes.epochs", 100), study.option("probes.conditions", [0])
    entry = study.autoencoder(job.wildcards["autoencoder"])
    encoding = encoding_hours(entry, images=count, passes=epochs * len(conditions))
    training = epochs * len(conditions) * count / rate("probe") / 3600
    return Cost(None if encoding is None else training + encoding)


def _score_diffusability(job: Job, study: Study) -> Cost:
    """Per image one encoding, and decodings of 11 turned and scaled and 2 down-sampled latents."""
    flops = autoencoder_flops(study.autoencoder(job.wildcards["autoencoder"]))
    count = study.option("diffusability.images", "all")
    count = study.evaluation if count == "all" else count
    if flops is None or count is None:
        return Cost()
    fitted = study.option("diffusability.train_images", 0)
    work = count * (flops[0] + 13 * flops[1]) + fitted * flops[0]
    return Cost(work / rate("autoencoder") / 3600)


MEASURING: Mapping[str, Callable[[Job, Study], Cost]] = {
    "fetch_asset": _fetch_asset,
    "pack_images": _pack_images,
    "train_network": _train_network,
    "train_autoencoder": _train_autoencoder,
    "reconstruct_images": _reconstruct_images,
    "extract_conditions": _extract_conditions,
    "score_metric": _score_metric,
    "score_protocols": _score_protocols,
    "find_neighbours": _find_neighbours,
    "score_ifid": _score_ifid,
    "train_probe": _train_probe,
    "score_diffusability": _score_diffusability,
}
