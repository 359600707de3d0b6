# Versions that rules carry as parameters: a stage's, and those of what it plugs in.
from snakemake.exceptions import WorkflowError

from seesaw.config import ifid_variants, loss_networks
from seesaw.protocols.study import lpips_players
from seesaw.registry import (
    BACKBONES,
    CROPS,
    INTERPOLATIONS,
    LOSSES,
    METRICS,
    NETWORKS,
    OBJECTIVES,
    SOURCES,
)
from seesaw.versions import code_hash, family_version, stage_version


def get_version(stage, *more):
    """Version parameter of a rule: its stage's, and those of what the stage plugs in."""
    return "/".join([stage_version(stage), *more])


def get_family_version(stage):
    def version(wildcards):
        try:
            return get_version(stage, family_version(AUTOENCODERS[wildcards.autoencoder]["family"]))
        except ValueError as error:
            raise WorkflowError(str(error))

    return version


def get_data_version(wildcards):
    source = config["data"]["splits"][wildcards.split]["source"]
    return get_version("data", SOURCES[source].version, CROPS[get_crop(wildcards)].version)


def get_network_version(wildcards):
    return get_version("conditions", NETWORKS[wildcards.network].version)


def get_training_version(wildcards):
    objective = AUTOENCODERS[wildcards.autoencoder]["train"]["objective"]
    teacher = get_teacher(wildcards)
    more = [NETWORKS[teacher].version] if teacher else []
    return "/".join(
        [get_family_version("autoencoders")(wildcards), OBJECTIVES[objective].version, *more]
    )


def get_metric_version(wildcards):
    """A metric that reads images runs its network itself, so that one's version counts too."""
    metric = METRICS[wildcards.metric]
    more = [NETWORKS[player(metric.role)].version] if runs_network(metric) else []
    return get_version("metrics", metric.version, *more)


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


def get_probe_version(wildcards):
    own = get_family_version("probes")(wildcards)
    networks = [NETWORKS[player(condition)].version for condition in PROBES["conditions"]]
    return "/".join([own, *networks])


def get_control_version(stage):
    def version(wildcards):
        backbone = CONTROLLED[wildcards.autoencoder]
        own = get_family_version(stage)(wildcards)
        return f"{own}/{BACKBONES[backbone['name']].version}" if backbone else own

    return version


def get_claim_code(wildcards):
    return code_hash(f"seesaw.theory.{wildcards.claim}")
