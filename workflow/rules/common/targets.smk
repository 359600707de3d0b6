# Tables, figures and the report: what there is, what each needs, and what they show.
from snakemake.exceptions import WorkflowError

from seesaw.registry import NETWORKS, unknown

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
    if not NEEDS.get(item, ("", True))[1] and not LEFT_OUT:
        raise WorkflowError(
            f"config, report.items: {item!r} needs {NEEDS[item][0]}, which this config lacks; "
            "add it, or leave the item out"
        )
config["report"]["items"] = [
    item for item in config["report"]["items"] if NEEDS.get(item, ("", True))[1]
]


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


def get_builds(wildcards):
    """What tables of the autoencoders say of them beside their labels."""
    return {
        name: {"family": entry["family"], "patch_size": entry.get("patch_size", 1)}
        for name, entry in AUTOENCODERS.items()
    }


def get_quality(wildcards):
    trained = [n for n in PLAYERS if NETWORKS[n].trainer and "weights" not in PLAYERS[n]]
    return expand("<results>/networks/{network}/quality.json", network=trained)
