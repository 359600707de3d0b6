"""A pool of ten autoencoders as scores, made from a seeded latent quality and noise."""

import numpy as np
import pandas as pd

from seesaw.score_table import check_scores

NAMES = {
    "kl-f4c4": "KL", "kl-f4c4-long": "KL", "kl-f8c16": "KL", "kl-f4c4-beta": "KL", "eq-f4c4": "EQ",
    "se-f4c4": "SE", "vf-f4c4": "VF", "rae": "RAE", "tokens-32": "1D", "tokens-64": "1D",
}  # fmt: skip
NETWORK = {
    "lpips": "lpips-alex-random", "rfid": "mini-inception", "kid": "mini-inception",
    "ifid": "mini-inception", "gfid": "mini-inception", "canny": "canny", "depth": "mini-depth",
    "segmentation": "mini-segmentation", "spatial": "canny+mini-depth+mini-segmentation",
    "identity": "mini-face", "face-recall": "mini-face", "clip": "mini-clip", "dino": "mini-dino",
}  # fmt: skip
# metric: (value at the worst, at the best, unit, higher is better, shuffled baseline)
RANGES = {
    "psnr": (17.0, 27.0, "dB", True, None),
    "ssim": (0.45, 0.93, "1", True, None),
    "lpips": (0.30, 0.03, "1", False, None),
    "rfid": (60.0, 4.0, "1", False, None),
    "kid": (40.0, 1.5, "1e-3", False, None),
    "canny": (0.20, 0.06, "L1", False, 0.24),
    "depth": (0.09, 0.02, "L1", False, 0.31),
    "segmentation": (0.12, 0.02, "L1", False, 0.35),
    "spatial": (0.136, 0.033, "L1", False, 0.30),
    "identity": (0.20, 0.93, "cosine", True, 0.02),
    "face-recall": (0.40, 0.98, "share", True, None),
    "clip": (0.70, 0.99, "cosine", True, 0.31),
    "dino": (0.75, 0.98, "cosine", True, 0.22),
}
SWEEP = [
    "linear alpha=0.5 k=1 n=500", "mask alpha=0.5 k=1 n=500", "slerp alpha=0.5 k=1 n=500",
    "slerp alpha=0.5 k=1 n=2000", "slerp alpha=0.5 k=1 n=all", "slerp alpha=0 k=10 n=all",
    "slerp alpha=0.1 k=10 n=all", "slerp alpha=0.2 k=10 n=all", "slerp alpha=0.3 k=10 n=all",
    "slerp alpha=0.4 k=10 n=all", "slerp alpha=0.5 k=10 n=all",
]  # fmt: skip
DEFAULT = "slerp alpha=0.5 k=10 n=all"


def make_scores(seed=1, names=None, gfid=False, noise=0.06):
    """Scores of a pool as :func:`seesaw.score_table.check_scores` returns them."""
    rng = np.random.default_rng(seed)
    names = names or NAMES
    rows = []
    for name, group in names.items():
        quality = rng.uniform()
        smooth = rng.uniform()
        measured = {}
        for metric, (worst, best, _, _, shuffled) in RANGES.items():
            measured[metric, ""] = worst + (best - worst) * (quality + noise * rng.normal())
            if shuffled is not None:
                measured[metric, "shuffled"] = shuffled * (1 + 0.02 * rng.normal())
                if not RANGES[metric][3]:
                    measured[metric, "zero"] = shuffled * 0.5
        for variant in SWEEP:
            alpha = float(variant.split("alpha=")[1].split()[0])
            mix = alpha * (60 + 120 * smooth * (1 + noise * rng.normal()))
            measured["ifid", variant] = measured["rfid", ""] + (mix if alpha else 0.0)
        measured["ifid", ""] = measured["ifid", DEFAULT]
        if gfid:
            measured["gfid", ""] = 20 + 80 * smooth + 5 * rng.normal()
        for (metric, variant), value in measured.items():
            _, _, unit, higher, _ = RANGES.get(metric, (0, 0, "1", False, None))
            faces = metric in ("identity", "face-recall")
            rows.append(
                {
                    "autoencoder": name, "group": group, "training": "Recon.", "metric": metric,
                    "variant": variant, "value": value, "n": 780 if faces else 2000, "unit": unit,
                    "higher_is_better": higher, "network": NETWORK.get(metric, ""),
                    "protocol": f"posterior=mean; ifid={DEFAULT}", "note": "",
                    "metric_version": "1", "seed": 0,
                    "weights_sha256": "", "duplicate_of": "", "seesaw": "0.1.0", "git_commit": "",
                }
            )  # fmt: skip
    return check_scores(pd.DataFrame(rows))
