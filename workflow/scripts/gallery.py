"""Rule gallery: see seesaw.figures.gallery.gallery."""

from seesaw.figures.gallery import gallery, pick, read_condition, read_numbers
from seesaw.figures.style import save_figure
from seesaw.log import configure_logging
from seesaw.registry import METRICS
from seesaw.shards import Shards

if __name__ == "__main__":
    configure_logging(snakemake.log[0])
    params, files = snakemake.params, snakemake.input
    numbers = read_numbers(dict(zip(params.metrics, files.metrics, strict=True)))
    picks = pick(
        numbers[params.ranked_by],
        count=params.images_shown,
        higher_is_better=METRICS[params.ranked_by].higher_is_better,
    )
    ids = [image_id for chosen in picks.values() for image_id in chosen]
    # params.networks: role -> network, in the order of both lists of manifests
    conditions = [
        read_condition(role, network, Shards(reference), Shards(source), ids)
        for (role, network), reference, source in zip(
            params.networks.items(), files.reference_conditions, files.conditions, strict=True
        )
    ]
    figure = gallery(
        picks=picks,
        images=Shards(files.images).take(ids, ["images"])["images"],
        reconstructions=Shards(files.reconstructions).take(ids, ["images"])["images"],
        conditions=[condition for condition in conditions if condition is not None],
        numbers=numbers.loc[ids],
        ranked_by=params.ranked_by,
    )
    points = numbers.loc[ids].rename_axis("id").reset_index()
    points.insert(0, "sort", [sort for sort, chosen in picks.items() for _ in chosen])
    save_figure(figure, points, dict(snakemake.output.items()))
