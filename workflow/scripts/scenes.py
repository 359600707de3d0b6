"""Rule scenes: see seesaw.figures.images.scenes."""

import pandas as pd

from seesaw.figures.images import choose_ids, scenes
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.mini.scenes import LABELS, PALETTE
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    images = Shards(snakemake.input.images)
    ids = choose_ids(images.ids, snakemake.params.images_shown, snakemake.params.seed)
    truth = images.take(ids, ["images", "depth", "labels", "face_box"])
    words = pd.read_parquet(snakemake.input.index).set_index("id").loc[ids, "caption"].tolist()
    figure = scenes(
        truth["images"],
        truth["depth"],
        truth["labels"],
        boxes=truth["face_box"],
        captions=words,
        palette=PALETTE,
        classes=LABELS,
    )
    save_figure(figure, pd.DataFrame({"id": ids, "caption": words}), dict(snakemake.output.items()))
