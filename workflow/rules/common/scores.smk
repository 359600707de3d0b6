# The scores of every stage: whose they are, in which files, and the tables that collect them.
import hashlib
from pathlib import Path

from seesaw.protocols.study import crops_of

# Stage that scores -> autoencoders that it scores, and the files of each. A stage that the config does
# not ask for is not there.
SCORES = {
    "metrics": (
        AUTOENCODERS,
        expand("<results>/metrics/{{autoencoder}}/{metric}.json", metric=config["metrics"]),
    ),
    "protocols": (
        SCORED,
        expand("<results>/protocols/{{autoencoder}}/{crop}.json", crop=crops_of(config)),
    ),
    "ifid": (
        AUTOENCODERS if "ifid" in config else [],
        ["<results>/ifid/{autoencoder}/scores.json"],
    ),
    "probes": (
        PROBED,
        expand("<results>/probes/{{autoencoder}}/{condition}.json", condition=PROBES["conditions"]),
    ),
    "gfid": (
        DIFFUSED if "gfid" in config else [],
        expand(
            "<results>/gfid/{{autoencoder}}/{model}/{part}.json",
            model=MODELS,
            part=[*SAMPLERS, *(["times"] if config.get("gfid", {}).get("times") else [])],
        ),
    ),
    "control": (
        CONTROLLED,
        expand(
            "<results>/control/{{autoencoder}}/{condition}/scores.json",
            condition=CONTROL["conditions"],
        ),
    ),
    "diffusability": (
        AUTOENCODERS if "diffusability" in config else [],
        ["<results>/diffusability/{autoencoder}/scores.json"],
    ),
}
SCORES = {stage: (names, files) for stage, (names, files) in SCORES.items() if names and files}


def scores_of(*stages):
    """Collected scores of the stages that an item reads, as far as the config asks for them."""
    return [f"<results>/scores/{stage}.csv" for stage in SCORES if stage in stages]


def get_scored(wildcards):
    """The autoencoders that a stage scores, in the order of the config, as tables call them."""
    names = SCORES[wildcards.stage][0]
    return [entry for entry in get_labels(wildcards) if entry["name"] in names]


def get_stage_scores(wildcards):
    files = SCORES[wildcards.stage][1]
    return expand(files, autoencoder=[entry["name"] for entry in get_scored(wildcards)])


def get_scored_manifests(wildcards):
    return expand(
        "<results>/reconstruct/{autoencoder}/manifest.json",
        autoencoder=[entry["name"] for entry in get_scored(wildcards)],
    )


def get_labels(wildcards):
    """How tables and figures call the autoencoders."""
    return [
        {key: entry.get(key, "") for key in ("name", "group", "training", "duplicate_of")}
        for entry in AUTOENCODERS.values()
    ]


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
