"""Images/s of packing ImageNet on one core: decoding, cropping, writing; by container.

    python benchmarks/packing.py --images 500 --folder /tmp/packing

Images are cuts of photographs that ship in installed packages, 500 x 375 pixels, JPEG of quality
97: 88 KB on average, where ImageNet's have 108 KB. Written to --folder.
"""

import argparse
import io
import json
import resource
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from seesaw.data import load_source
from seesaw.data.crops import adm, resize_center_crop
from seesaw.data.imagenet import wnids
from seesaw.data.pack import pack_images

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from photos import photo_files

SIZE = (500, 375)


def jpegs(count: int, seed: int = 0) -> dict[str, bytes]:
    """Encoded images by official name."""
    rng = np.random.default_rng(seed)
    photos = []
    for file in photo_files():
        with Image.open(file) as photo:
            if photo.mode == "RGB":
                photos.append(photo.copy())
    images = {}
    for number in range(count):
        photo = photos[number % len(photos)]
        scale = max(SIZE[0] / photo.width, SIZE[1] / photo.height, rng.uniform(0.5, 1))
        photo = photo.resize((round(photo.width * scale) + 1, round(photo.height * scale) + 1))
        left = int(rng.integers(0, photo.width - SIZE[0] + 1))
        top = int(rng.integers(0, photo.height - SIZE[1] + 1))
        stream = io.BytesIO()
        cut = photo.crop((left, top, left + SIZE[0], top + SIZE[1]))
        cut.save(stream, "JPEG", quality=97)
        images[f"{wnids()[number % 10]}_{number}.JPEG"] = stream.getvalue()
    return images


def lay(folder: Path, images: dict[str, bytes]) -> dict[str, Path]:
    """The images in each container."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    classes: dict[str, dict[str, bytes]] = {}
    for name, content in images.items():
        classes.setdefault(name[:9], {})[name] = content
    for wnid, files in classes.items():
        (folder / "folder/train" / wnid).mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / "folder/train" / wnid / name).write_bytes(content)
    (folder / "tar").mkdir(exist_ok=True)
    with tarfile.open(folder / "tar/ILSVRC2012_img_train.tar", "w") as outer:
        for wnid, files in classes.items():
            stream = io.BytesIO()
            with tarfile.open(fileobj=stream, mode="w") as inner:
                for name, content in files.items():
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    inner.addfile(member, io.BytesIO(content))
            member = tarfile.TarInfo(f"{wnid}.tar")
            member.size = len(stream.getvalue())
            outer.addfile(member, io.BytesIO(stream.getvalue()))
    (folder / "parquet").mkdir(exist_ok=True)
    names = np.random.default_rng(0).permutation(list(images)).tolist()
    for part, some in enumerate(np.array_split(names, 4)):
        rows = [{"bytes": images[name], "path": name} for name in some.tolist()]
        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        labels = [wnids().index(name[:9]) for name in some.tolist()]
        table = pa.table({"image": pa.array(rows, kind), "label": labels})
        path = folder / f"parquet/train-{part:05d}-of-00004.parquet"
        pq.write_table(table, path, row_group_size=100)
    return {kind: folder / kind for kind in ("tar", "folder", "parquet")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for everything")
    parser.add_argument("--shard-size", type=int, default=250)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    images = jpegs(options.images)
    mean = np.mean([len(content) for content in images.values()])
    print(f"{len(images)} JPEGs of {SIZE[0]} x {SIZE[1]}, {mean / 1e3:.0f} KB on average")
    decoded, start = [], time.process_time()
    for content in images.values():
        with Image.open(io.BytesIO(content)) as image:
            decoded.append(image.convert("RGB"))
    decoding = time.process_time() - start
    print(f"JPEG decoding alone: {len(images) / decoding:.0f} images/s per core")
    for crop in (resize_center_crop, adm):
        start = time.process_time()
        for image in decoded:
            crop(image, 256)
        print(f"{crop.__name__} alone: {len(images) / (time.process_time() - start):.0f} images/s")
    del decoded
    for kind, path in lay(options.folder, images).items():
        out = options.folder / f"packed-{kind}"
        source = {"source": "imagenet", "path": str(path), "split": "train", "images": len(images)}
        loaded = load_source(
            source, split="train", resolution=256, crop="resize-center-crop", seed=0
        )
        start = time.process_time()
        loaded.index()
        listing = time.process_time() - start
        start, wall = time.process_time(), time.monotonic()
        pack_images(
            source=source,
            split="train",
            resolution=256,
            crop="resize-center-crop",
            shard_size=options.shard_size,
            seed=0,
            workers=options.workers,
            manifest=out / "manifest.json",
            index=out / "index.parquet",
        )
        seconds, wall = time.process_time() - start, time.monotonic() - wall
        words = f"listing {listing:.2f} s"
        if options.workers == 1:
            words += (
                f", packing {len(images) / seconds:.0f} images/s per core (CPU time), "
                f"{100 * decoding / seconds:.0f}% of it JPEG decoding"
            )
        print(f"{kind}: {words}; {len(images) / wall:.0f} images/s by the clock")
        n = json.loads((out / "manifest.json").read_text())["n"]
        assert n == len(images)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process: {peak:.2f} GB")


if __name__ == "__main__":
    main()
