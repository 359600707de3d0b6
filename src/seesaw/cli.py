"""The command ``seesaw``: the published autoencoders, listed, shown and put to the test.

    seesaw autoencoders                              the list
    seesaw autoencoders show vavae_f16d32            all that is known of one
    seesaw autoencoders check vavae_f16d32 --weights FILE
                                                     load it, reconstruct an image, numbers
    seesaw autoencoders check diffusers-kl --weights FOLDER
                                                     the same of a folder with a config.json
    seesaw fetch vavae_f16d32                        download its files to their places

Only checking imports torch.
"""

import argparse
import csv
import io
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from seesaw.catalogue import (
    Row,
    list_autoencoders,
    read_registry,
    short_licence,
    show_autoencoder,
)
from seesaw.external import absent_weights
from seesaw.published_autoencoders import WEIGHT_ROLES, WEIGHTS, resolve_autoencoder
from seesaw.registry import FAMILIES, unknown

WRONG = 2
"""Exit code where something was wrong that the words on stderr say; as argparse's own."""

RESOLUTION = 256
"""Side of the image that checks a family which takes any."""

HEADINGS = {
    "name": "name",
    "group": "group",
    "latent": "latent",
    "factor": "f",
    "parameters": "Mparam",
    "licence": "licence",
    "gated": "gated",
    "confidence": "confidence",
    "weights": "weights",
    "loader": "loader",
    "duplicate_of": "same as",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is 0, or :data:`WRONG`."""
    given = _parser().parse_args(words)
    run: Callable[[argparse.Namespace], str] = given.run
    logging.basicConfig(format="%(message)s")
    try:
        text = run(given)
    except (ValueError, OSError, RuntimeError) as error:
        sys.stderr.write(f"seesaw: {_words(error)}\n")
        return WRONG
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of a pipe has seen enough: head
        sys.stderr.close()
    return 0


def _words(error: Exception) -> str:
    """What went wrong. An OSError without words of its own names the file."""
    return str(error) or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="seesaw", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    autoencoders = commands.add_parser(
        "autoencoders", help="list, show and check the published autoencoders"
    )
    autoencoders.set_defaults(run=_list)
    autoencoders.add_argument("--group", help="only this group")
    form = autoencoders.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON")
    form.add_argument("--csv", action="store_true", help="as CSV")
    actions = autoencoders.add_subparsers(metavar="ACTION")

    show = actions.add_parser("show", help="all that the registry says of one")
    show.set_defaults(run=_show)
    show.add_argument("name", help="name of the registry")
    show.add_argument("--json", action="store_true", help="as JSON")

    check = actions.add_parser(
        "check",
        help="load weights strictly, reconstruct an image, print numbers",
        description="Loads an autoencoder from its official files, every key checked, and sends "
        "one image through it.",
    )
    check.set_defaults(run=_check)
    check.add_argument(
        "name",
        help="name of the registry, MODULE:CLASS of your own, or a family: diffusers-kl with "
        "--weights FOLDER, where config.json says the architecture",
    )
    check.add_argument(
        "--weights",
        action="append",
        default=[],
        metavar="FILE or ROLE=FILE",
        help="weights; repeat it for several files. Default, where the registry places them",
    )
    check.add_argument(
        "--resolution",
        type=int,
        help=f"side of the image; default, the autoencoder's own, or {RESOLUTION}",
    )
    check.add_argument("--image", type=Path, help="any image; default, a photograph")
    check.add_argument("--output", type=Path, help="write image and reconstruction as PNG")
    check.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    check.add_argument("--device", default="cpu", help="torch device; default, cpu")
    check.add_argument("--json", action="store_true", help="as JSON")

    fetch = commands.add_parser(
        "fetch",
        help="download the files of published autoencoders to their places",
        description="Downloads what is not there yet, resumed and checked (docs/assets.md), the "
        "optional files too.",
    )
    fetch.set_defaults(run=_fetch)
    fetch.add_argument("names", nargs="+", metavar="NAME", help="names of the registry")
    fetch.add_argument("--mirror", help="folder or address with a copy of the files")
    fetch.add_argument("--offline", action="store_true", help="only say which file to put where")
    return parser


def _list(given: argparse.Namespace) -> str:
    rows = list_autoencoders(read_registry(), group=given.group)
    if given.json:
        return json.dumps([row.cells() for row in rows], indent=1) + "\n"
    if given.csv:
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(HEADINGS), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row.cells() for row in rows)
        return stream.getvalue()
    present = sum(row.weights == "present" for row in rows)
    return (
        table([_cells(row) for row in rows])
        + f"\n{len(rows)} autoencoders, weights of {present} present. "
        "seesaw autoencoders show NAME says more of one,\nalso what the star at a licence means.\n"
    )


def _cells(row: Row) -> dict[str, str]:
    cells = {HEADINGS[key]: str(value) for key, value in row.cells().items()}
    cells["Mparam"] = "" if row.parameters is None else f"{row.parameters / 1e6:.1f}"
    cells["licence"] = short_licence(row.licence)
    return cells


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as aligned text; a column whose cells are all empty is left out."""
    columns = [column for column in rows[0] if any(row[column] for row in rows)]
    widths = {c: max(len(c), *(len(row[c]) for row in rows)) for c in columns}
    right = {
        c for c in columns if all(row[c].replace(".", "").isdigit() or not row[c] for row in rows)
    }
    lines = [{c: c for c in columns}, {c: "-" * widths[c] for c in columns}, *rows]
    return "".join(
        "  ".join(
            line[c].rjust(widths[c]) if c in right else line[c].ljust(widths[c]) for c in columns
        ).rstrip()
        + "\n"
        for line in lines
    )


def _show(given: argparse.Namespace) -> str:
    entry = show_autoencoder(given.name, read_registry())
    if given.json:
        return json.dumps(entry, indent=1) + "\n"
    return yaml.safe_dump(entry, sort_keys=False, allow_unicode=True, width=100)


def _check(given: argparse.Namespace) -> str:
    registry = read_registry()
    weights = weights_given(given.name, given.weights, registry)
    if given.image is not None and not given.image.is_file():
        raise ValueError(f"--image {given.image} does not exist")
    from seesaw.autoencoders.check import check_autoencoder, write_pair

    if given.device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise ValueError(f"--device {given.device}: torch sees no GPU here; leave it out")
    checked = check_autoencoder(
        given.name,
        weights or None,
        image=given.image,
        config=_config_given(given.name, given.resolution, registry),
        device=given.device,
        precision=given.precision,
    )
    if given.output:
        write_pair(given.output, checked)
    published = registry["autoencoders"].get(given.name, {}).get("published", {})
    if given.json:
        return (
            json.dumps({"name": given.name, **checked.cells(), "published": published}, indent=1)
            + "\n"
        )
    lines = [f"{given.name}: " + ("loaded, every key in its place" if weights else "no weights")]
    lines += [f"  {role:<12} {path}" for role, path in weights.items()]
    lines += _numbers(checked, published)
    if given.output:
        lines.append(f"written to {given.output}: image and reconstruction")
    return "\n".join(lines) + "\n"


def _config_given(name: str, resolution: int | None, registry: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of a study would say beside the name: the resolution where it must."""
    if resolution is not None:
        return {"resolution": resolution}
    named = name in registry["autoencoders"] or name in registry["architectures"]
    needs = FAMILIES[name].needs if name in FAMILIES and not named else ()
    return {"resolution": RESOLUTION} if "resolution" in needs else {}


def _fetch(given: argparse.Namespace) -> str:
    from seesaw.assets import assets_of, fetch_all

    registry = read_registry()
    entries = registry["autoencoders"]
    pool = []
    for name in given.names:
        if name not in entries:
            raise unknown("autoencoder", name, entries)
        if not entries[name]["files"]:
            raise ValueError(f"{name!r} cannot be fetched: {entries[name]['confidence']['note']}")
        entry = resolve_autoencoder(name, registry)
        places = {role: f["path"] for role, f in entry["files"].items() if role in WEIGHT_ROLES}
        pool.append({**entry, "weights": places})
    assets = assets_of({"autoencoders": pool, "networks": {}}).values()
    options = {"mirror": given.mirror} if given.mirror else {}
    logging.getLogger("seesaw").setLevel(logging.INFO)
    if given.offline:
        options["offline"] = True
    done = fetch_all(assets, WEIGHTS, **options)
    lines = [
        f"  {path}: {'not there, and not needed' if isinstance(file, Exception) else 'there'}"
        for path, file in done.items()
    ]
    return "\n".join([f"below {WEIGHTS}:", *lines]) + "\n"


def weights_given(name: str, words: Sequence[str], registry: Mapping[str, Any]) -> dict[str, str]:
    """Role -> weights file: what was given, and for other roles the registry's places.

    Args:
        name: of the registry; or of an architecture or a family, or ``"module:Class"``, which have
            no places.
        words: ``FILE``, or ``ROLE=FILE``.
        registry: see :func:`seesaw.catalogue.read_registry`.

    Raises:
        ValueError: unknown name or role, a role given twice, or a file that is not there; with its
            source.
    """
    entries = registry["autoencoders"]
    if name not in entries:
        known = [*entries, *registry["architectures"], *FAMILIES]
        if ":" not in name and name not in known:
            raise unknown("autoencoder", name, known)
        return _roles_given(name, words, WEIGHT_ROLES)
    if not entries[name]["files"]:
        raise ValueError(f"{name!r} cannot be checked: {entries[name]['confidence']['note']}")
    resolved = resolve_autoencoder(name, registry)
    files = {role: f for role, f in resolved["files"].items() if role in WEIGHT_ROLES}
    needed = {role for role, file in files.items() if not file.get("optional")}
    found = _roles_given(name, words, list(files))
    places = {role: file["path"] for role, file in files.items() if role not in found}
    absent = absent_weights(
        f"autoencoder {name!r}",
        {
            "weights": {role: path for role, path in places.items() if role in needed},
            "files": files,
            "confidence": resolved["confidence"],
        },
    )
    if absent:
        raise ValueError(
            "weights are not there; put them at their places, or say --weights ROLE=FILE\n"
            + "\n".join(f"  {file.what}\n      {file.words}" for file in absent)
        )
    found |= {role: path for role, path in places.items() if Path(path).exists()}
    return {role: found[role] for role in files if role in found}


def _roles_given(name: str, words: Sequence[str], roles: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        role, equals, path = word.partition("=")
        if not equals or "/" in role or "." in role:
            role, path = "autoencoder", word
        if role not in roles:
            raise ValueError(
                f"--weights {word}: {name!r} has no file in the role {role!r}; give ROLE=FILE, the "
                f"roles are {', '.join(roles)}"
            )
        if role in found:
            raise ValueError(f"--weights: the role {role!r} is given twice")
        if not Path(path).exists():
            raise ValueError(f"--weights {word}: {path} does not exist")
        found[role] = path
    return found


def _numbers(checked: Any, published: Mapping[str, Any]) -> list[str]:
    """What was measured, beside what is published."""
    known = {"psnr": ("PSNR", "dB"), "ssim": ("SSIM", ""), "rfid": ("rFID", "")}
    claims = [
        f"{label} {published[key]:g} {unit}".rstrip()
        for key, (label, unit) in known.items()
        if key in published
    ]
    shape = " x ".join(map(str, checked.latent_shape))
    lines = [
        f"PSNR       {checked.psnr:.2f} dB on this image, {checked.clipped:.1%} of values clipped",
        f"latent     {shape}; {_line(checked.latents)}",
    ]
    if checked.normalized is None:
        lines.append("           no statistics of it are at hand to compare with")
    else:
        lines.append(
            f"normalized {_line(checked.normalized)} (0 and 1 over the images that the published "
            "statistics are of)"
        )
    if claims:
        lines.append(
            f"published  {', '.join(claims)}, means over a whole data set ({published['source']})"
        )
    parameters = "" if checked.parameters is None else f"{checked.parameters:,} parameters; "
    lines.append(
        f"cost       {parameters}encoding {checked.encode_seconds:.2f} s, decoding "
        f"{checked.decode_seconds:.2f} s, peak memory {checked.peak_bytes / 2**30:.2f} GiB"
    )
    return lines


def _line(summary: Any) -> str:
    return (
        f"mean {summary.mean:.4f}, std {summary.std:.4f}, min {summary.low:.3f}, max "
        f"{summary.high:.3f}"
    )


if __name__ == "__main__":
    sys.exit(main())
