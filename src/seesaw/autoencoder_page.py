"""The page ``docs/autoencoders.md``, made from the registry of published autoencoders.

Beside what the registry says stand the papers' own numbers (``resources/published``).
"""

from collections.abc import Mapping
from typing import Any

from seesaw.catalogue import Registry, list_autoencoders, short_licence
from seesaw.published.data import printed
from seesaw.published_autoencoders import config_of, source_of

CONTAINERS = {
    "lightning": "Lightning checkpoint, weights under `state_dict`",
    "bare": "`torch.save` of a state dict",
    "training": "`torch.save` of a training state",
    "safetensors": "safetensors",
    "diffusers-folder": "diffusers folder, safetensors and `config.json`",
    "hub-folder": "hub folder, safetensors and `config.json`",
}

INTRODUCTION = """\
Every autoencoder that the papers measured, and a few beside them. `seesaw autoencoders` prints
this list with what is present on your disk, `seesaw autoencoders show NAME` all that is known of
one, and

```
seesaw autoencoders check NAME --weights FILE
```

loads a file strictly, reconstructs a photograph and prints PSNR and the latent's numbers. In
Python:

```
from seesaw.autoencoders import load_autoencoder
autoencoder = load_autoencoder("vavae_f16d32", "vavae-imagenet256-f16d32-dinov2.pt")
latents = autoencoder.encode(images)        # float RGB in [-1, 1], (N, 3, 256, 256)
```

In a config, list the name under `autoencoders`.

## Choose one

*latent*: shape for an image of 256 pixels, channels x height x width, or tokens x channels. *f*:
pixels per latent position along a side; 1d, tokens without a grid. *rFID* and *PSNR*: measured by
Seesaw (Table 5), after a slash what the authors publish, with their own protocol. *gFID*: of a
SiT-XL after 40 epochs without guidance, in the iFID paper's code repository. *sure*: seen, in the
authors' or a paper's text or code; third-party, in somebody else's; guess. A star at a licence:
see its remarks below.
"""

OWN = """\
## Add your own in ten lines

A file on your `PYTHONPATH`, here `my_autoencoder.py`:

```python
from torch import nn

from seesaw.autoencoders import Autoencoder


class Mine(Autoencoder):
    resolution, latent_shape, spatial = 256, (4, 32, 32), True

    def __init__(self):
        super().__init__()
        self.encoder = nn.Conv2d(3, 4, 8, stride=8)
        self.decoder = nn.ConvTranspose2d(4, 3, 8, stride=8)

    def posterior(self, images):  # float RGB in [-1, 1] -> mean and log variance, None without one
        return self.encoder(images), None

    def render(self, latents):  # -> images about [-1, 1], not clamped
        return self.decoder(latents)
```

and in a config:

```yaml
autoencoders:
  - name: mine
    family: my_autoencoder:Mine
    weights: weights/mine.safetensors
```

`seesaw autoencoders check my_autoencoder:Mine --weights weights/mine.safetensors` tries it out.
Arguments of `__init__` go under `config`; `weights` is also read from `.pt`, `.pth` and `.ckpt`
files, and can be a mapping of roles to files (`layouts` and `parts` of
`seesaw.autoencoders.Autoencoder`). A class with a posterior says `stochastic = True` and returns
its log variance; without, protocols that sample (`lightningdit`, `ifid`) decode the mean and say
so.

## Other options, other weights

```yaml
autoencoders:
  - {name: vavae-bf16, like: vavae_f16d32, config: {dtype: bfloat16}}
  - {name: vavae-mine, like: vavae_f16d32, weights: weights/my-vavae.pt}
  - {name: kl-mine, family: diffusers-kl, weights: weights/my-vae}
```

The last is a folder of diffusers' `AutoencoderKL` as `save_pretrained` writes it: its `config.json`
says the architecture, `data.resolution` the size of the images. `config/compare.yaml` sets such
entries beside published ones on ImageNet. Where a diffusion model is trained on an entry that is
not `like` a published one, it says `patch_size`, the side of the latent squares that become one
token: 2 for latents of 32 x 32, 1 for 16 x 16.

`config` takes, for every autoencoder: `dtype` (`float32`, `bfloat16`, `float16`), `compile`,
`latents` (`raw` or `normalized` with the published statistics), `normalization` (`{mean, scale}` of
your own) and `ema` (which weights, where a file holds both). What bf16 changes is in
`docs/performance.md`. The posterior's mean or a sample of it is `reconstruct.posterior`.

## What reading a file trusts

Nothing in a weights file is run. `.safetensors` hold tensors only. Pickles (`.pt`, `.pth`, `.ckpt`,
`.bin`, `.pkl`) are read with `weights_only=True`; where that refuses a file because objects of a
training lie beside its tensors, it is read by `seesaw.autoencoders.inert`, which makes tensors,
arrays and plain containers and puts an empty placeholder in the place of everything else. No
conversion and no trust in the file's author is needed. Keys, shapes and kinds of dtype are then
checked strictly.
"""

Numbers = Mapping[str, Mapping[str, str]]


def autoencoders_page(registry: Registry, note: str) -> str:
    """The page, from the registry and the papers' tables.

    Args:
        registry: see :func:`seesaw.catalogue.read_registry`.
        note: a comment for those who want to edit the page.
    """
    tables: dict[str, Numbers] = {
        "seesaw": printed("seesaw_table5").set_index("weight_name").to_dict("index"),
        "ifid": printed("ifid_readme_benchmark").set_index("vae").to_dict("index"),
    }
    rows = ["# Published autoencoders", "", note, INTRODUCTION]
    rows += ["| name | group | latent | f | Mparam | rFID | PSNR | gFID | licence | gated | sure |"]
    rows += ["|" + "---|" * 11]
    rows += _choices(registry, tables)
    rows += ["", "The papers' other numbers are in `resources/published`.", ""]
    groups: dict[str, list[str]] = {}
    for name, entry in registry["autoencoders"].items():
        groups.setdefault(entry["group"], []).append(name)
    for group, names in groups.items():
        rows += [f"## {group}", ""]
        for name in names:
            rows += [*_details(name, registry), ""]
    return "\n".join(rows) + "\n" + OWN


def _choices(registry: Registry, tables: Mapping[str, Numbers]) -> list[str]:
    rows = []
    for row in list_autoencoders(registry):
        own = registry["autoencoders"][row.name]["published"]
        five = tables["seesaw"].get(own.get("seesaw", ""), {})
        ifid = tables["ifid"].get(own.get("ifid", ""), {})
        cells = [
            f"`{row.name}`" + (f" (= `{row.duplicate_of}`)" if row.duplicate_of else ""),
            row.group,
            row.latent or "?",
            row.factor or "?",
            "?" if row.parameters is None else f"{row.parameters / 1e6:.1f}",
            _two(five.get("rfid", ""), own.get("rfid")),
            _two(five.get("psnr", ""), own.get("psnr")),
            ifid.get("gfid_xl_no_cfg", ""),
            short_licence(row.licence).replace("*", "\\*"),
            row.gated,
            row.confidence,
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _two(printed_value: str, claimed: float | None) -> str:
    """A paper's value with two digits after the point, and the authors' own after a slash."""
    value = f"{float(printed_value):.2f}" if printed_value else ""
    return value if claimed is None else f"{value} / {claimed:g}".strip()


def _details(name: str, registry: Registry) -> list[str]:
    entry = registry["autoencoders"][name]
    training = entry["training"].rstrip(".")
    lines = [f"### `{name}`", "", f"{training}. Licence: {entry['licence']}."]
    if "gated" in entry:
        lines.append(f"Accept it at <{entry['gated']}> before the download.")
    level = entry["confidence"]["level"] if entry["files"] else "not found"
    lines.append(f"Confidence: {level}; {entry['confidence']['note']}.")
    points = []
    for role, file in entry["files"].items():
        remarks = [file["status"], *(["optional"] if file.get("optional") else [])]
        remarks += ["gated"] if "gated" in file else []
        what = file["url"] if "url" in file else f"{file['repo']}: {file['file']}"
        points.append(f"{role}: [{what}]({source_of(file)}) ({', '.join(remarks)})")
    if "container" in entry:
        points.append(f"container: {CONTAINERS[entry['container']]}")
    points += _options(entry, registry)
    points += _published(entry["published"])
    if "near_duplicates" in entry:
        points.append(f"perhaps the same weights: {entry['near_duplicates']}")
    points += [f"beware: {trap}" for trap in entry.get("traps", [])]
    return [*lines, "", *(f"- {point}" for point in points)]


def _options(entry: Mapping[str, Any], registry: Registry) -> list[str]:
    options = entry.get("options", {})
    here = []
    if "ema" in options:
        here.append("averaged weights" if options["ema"] else "plain weights, not the averaged")
    if "posterior" in options:
        here.append(f"posterior {options['posterior']}")
    if "latents" in options:
        here.append(f"{options['latents']} latents")
    points = [f"here: {', '.join(here)}"] if here else []
    upstream = options.get("upstream", {})
    if upstream:
        words = ", ".join(f"{key} {value}" for key, value in upstream.items())
        points.append(f"its authors' code: {words}")
    if "architecture" not in entry:
        return points
    normalization = config_of(entry, registry).get("normalization")
    if normalization:
        mean, scale = (_constant(normalization[key]) for key in ("mean", "scale"))
        points.append(f"normalized latents: (z - {mean}) * {scale}")
    elif "stats" in entry["files"]:
        points.append("normalized latents: with the statistics of the file")
    return points


def _constant(value: float | list[float]) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"{number:.8g}" for number in value) + "]"
    return f"{value:.8g}"


def _published(published: Mapping[str, Any]) -> list[str]:
    labels = {"rfid": "rFID", "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS"}
    claims = [f"{label} {published[key]:g}" for key, label in labels.items() if key in published]
    for row in published.get("gfid", []):
        ways = {"plain": "without guidance", "guided": "with guidance"}
        values = [f"{row[key]:g} {words}" for key, words in ways.items() if key in row]
        epochs = f", {row['epochs']} epochs" if "epochs" in row else ""
        claims.append(f"gFID {' and '.join(values)} ({row['model']}{epochs})")
    return [f"published: {'; '.join(claims)}. {published['source']}"] if claims else []
