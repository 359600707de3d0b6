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


TIMES = (0, 0.1, 0.2, 0.4, 0.6, 0.8)


def make_generation(
    seed=1, names=None, models=("SiT-B",), samplers=("plain", "guided"), references=("val",),
    times=TIMES, gfid=None,
):  # fmt: skip
    """Scores as of :func:`make_scores`, and of diffusion models as the stage ``gfid`` writes them.

    gFID rises with iFID (or is ``gfid``, autoencoder -> value), guidance takes a fifth of it away
    and the second model a tenth; gFID(t) goes from rFID at t = 0 to gFID as t squared does.
    """
    scores = make_scores(seed, names)
    rng = np.random.default_rng(seed + 1)
    rows = []
    for name, own in scores[scores["variant"] == ""].groupby("autoencoder", sort=False):
        measured = own.set_index("metric")["value"]
        base = {**own.iloc[0], "network": "mini-inception", "n": 2000, "note": ""}
        level = 1.2 * measured["ifid"] + 6 * rng.normal() if gfid is None else gfid[name]

        def add(metric, variant, value, unit="1", higher=False, said="", base=base):
            rows.append(
                {
                    **base, "metric": metric, "variant": variant, "value": value, "unit": unit,
                    "higher_is_better": higher,
                    "protocol": f"data=x; evaluation=val; posterior=mean; {said}",
                }
            )  # fmt: skip

        for i, model in enumerate(models):
            for j, sampler in enumerate(samplers):
                for k, reference in enumerate(references):
                    value = level * (1 - 0.1 * i) * (1 - 0.2 * j) + 0.5 * k
                    said = f"reference={reference}; samples={model} {sampler}"
                    variant, first = f"{model} {sampler} ref={reference}", i + j == 0
                    for where in [variant, *([""] if first and k == 0 else [])]:
                        add("gfid", where, value, said=said)
                    for where in [variant, *([""] if first else [])] if reference == "val" else []:
                        add("gkid", where, value / 2, "1e-3", said=said)
                        add("precision", where, 1 / (1 + value / 50), "share", True, said)
                        add("recall", where, 1 / (1 + value / 80), "share", True, said)
                variants = [f"{model} {sampler} ref=none", *([""] if i + j == 0 else [])]
                for variant in variants:
                    add("inception-score", variant, 1 + 400 / (40 + level), "1", True)
            end = level * (1 - 0.1 * i)
            for t in times:
                value = measured["rfid"] + (end - measured["rfid"]) * t**2
                add("gfid-t", f"{model} t={t:g}", value, said=f"t={t:g}; samples={model}")
            for variant, factor in (("", 1), (" unshifted", 1.1)):
                add("diffusion-loss", f"{model}{variant}", factor * (0.4 + level / 500))
    extra = pd.DataFrame(rows)
    extra.loc[extra["metric"] == "diffusion-loss", "network"] = ""
    return check_scores(pd.concat([scores, extra], ignore_index=True))
