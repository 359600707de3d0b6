"""A config of two autoencoders, one of known size, for the tests of costs and plan."""

KL = {"name": "kl", "family": "diffusers-kl", "latent_shape": [4, 32, 32], "patch_size": 2}
KL["config"] = {
    "resolution": 256,
    "official": {
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "latent_channels": 4,
    },
}
CONFIG = {
    "name": "a study",
    "pathvars": {"results": "nowhere"},
    "data": {
        "resolution": 256,
        "crop": "resize-center-crop",
        "splits": {"train": {"source": "folder", "path": "x"}, "val": {"source": "folder"}},
        "evaluation": "val",
        "reference": "train",
    },
    "networks": {},
    "autoencoders": [KL, {"name": "own", "family": "module:Class"}],
    "reconstruct": {"posterior": "mean"},
    "protocols": {"scored": ["seesaw", "ifid", "ifid-as-published", "rae"]},
    "neighbours": {
        "k": 10,
        "distances": ["l2", "cosine"],
        "references": [50000, "all"],
        "parts": 4,
    },
    "diffusion": {
        "models": ["SiT-XL", "SiT-B"],
        "segment_steps": 150_000,
        "train": {"steps": 400_000, "batch_size": 128},
        "samplers": [
            {"name": "plain", "mode": "sde", "steps": 250},
            {"name": "guided", "mode": "ode", "steps": 50, "guidance": 2, "interval": [0, 0.5]},
        ],
    },
    "gfid": {"references": ["val"], "times": [0, 0.4]},
    "ifid": {
        "default": {"interpolation": "slerp", "alpha": 0.5, "k": 10, "references": "all"},
        "alphas": [0, 0.5],
    },
    "control": {
        "autoencoders": ["kl"],
        "conditions": ["canny"],
        "model": "SiT-B",
        "train": {"steps": 1000},
        "sampler": {"mode": "heun", "steps": 20, "guidance": 2},
        "images": 300,
    },
}
