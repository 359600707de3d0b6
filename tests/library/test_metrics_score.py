"""The stage metrics: scores with their origin, per-image tables, errors in words."""

import numpy as np
import pandas as pd
import pytest
from metric_shards import binary_maps, faces, pair_of, shards_of

from seesaw.metrics import Measured, Reading
from seesaw.metrics.score import score_metric
from seesaw.registry import METRICS
from seesaw.results import read_scores


def run_stage(tmp_path, metric, reference, source, network=None):
    outputs = tmp_path / "out.json", tmp_path / "out.parquet"
    score_metric(
        metric=metric, autoencoder="kl", reference=reference.path, source=source.path,
        network=network, weights=None, protocol={"crop": "adm"}, seed=4, batch_size=3,
        device="cpu", output_scores=outputs[0], output_images=outputs[1],
        provenance_extra={"weights": "abc"},
    )  # fmt: skip
    return *read_scores(outputs[0]), pd.read_parquet(outputs[1])


def test_scores_carry_their_origin(tmp_path):
    a = binary_maps(7)
    sets = pair_of(tmp_path, "map", a, binary_maps(8), meta={"network": "canny"})
    autoencoder, scores, provenance, table = run_stage(tmp_path, "canny", *sets, network="canny")
    assert autoencoder == "kl"
    assert [score.variant for score in scores] == ["", "shuffled", "zero", "density"]
    first, entry = scores[0], METRICS["canny"]
    assert first.value == table["value"].mean()
    assert (first.n, first.unit, first.network) == (6, "L1", "canny")
    assert (first.metric_version, first.higher_is_better) == (entry.version, False)
    assert first.protocol == {"crop": "adm"}
    assert provenance["seed"] == 4
    assert provenance["weights"] == "abc"
    assert list(table.columns) == ["id", "value"]
    assert table["id"].tolist() == sets[0].ids
    assert table["value"].dtype == np.float64


def test_images_without_a_value_have_an_empty_cell(tmp_path):
    sets = faces(tmp_path, [1, 0, 1], np.zeros(3)), faces(tmp_path, [1, 1, 1], np.zeros(3))
    *_, table = run_stage(tmp_path, "identity", *sets, network="mini-face")
    assert table["value"].isna().tolist() == [False, True, False]


def test_a_metric_without_images_still_lists_them(tmp_path):
    x = np.random.default_rng(0).standard_normal((8, 3))
    sets = pair_of(tmp_path, "features", x, x + 1)
    _, scores, _, table = run_stage(tmp_path, "rfid", *sets, network="mini-inception")
    assert scores[0].value == pytest.approx(3, rel=1e-9)
    assert scores[0].note
    assert list(table.columns) == ["id"]
    assert len(table) == 8


@pytest.mark.parametrize(
    "metric, network, words",
    [
        ("psnrr", None, "unknown metric 'psnrr'. Did you mean 'psnr'"),
        ("lpips", None, "needs a network: name one as 'lpips'"),
        ("rfid", "canny", "'canny' is of kind 'edges', but 'inception' .* needs 'features'"),
        ("rfid", "inseption", "Did you mean 'inception'"),
    ],
)
def test_the_stage_refuses_in_words_and_writes_nothing(tmp_path, metric, network, words):
    a = shards_of(tmp_path, features=np.ones((3, 2)))
    with pytest.raises(ValueError, match=words):
        run_stage(tmp_path, metric, a, a, network)
    assert not list(tmp_path.glob("out*"))


def test_results_that_are_not_finite_name_metric_and_image(monkeypatch, tmp_path):
    a = shards_of(tmp_path, images=np.zeros((3, 3, 4, 4), np.uint8))
    column = np.array([1.0, np.inf, 2.0])
    for measured, words in (
        (Measured([Reading(1.0, 3)], {"value": column}), "'psnr': value of image 'im0001' is NaN"),
        (Measured([Reading(np.nan, 3, "zero")], {}), r"'psnr' \(zero\) is nan"),
        (Measured([Reading(1.0, 3)], {"value": column[:2]}), "has 2 rows for 3 images"),
    ):
        monkeypatch.setattr("seesaw.metrics.fidelity.psnr", lambda *_, m=measured: m)
        with pytest.raises(ValueError, match=words):
            run_stage(tmp_path, "psnr", a, a)
    assert not list(tmp_path.glob("out*"))


def test_the_stage_pairs_the_same_images_only(tmp_path):
    x = np.zeros((2, 3, 12, 12), np.uint8)
    a, b = shards_of(tmp_path, images=x, ids=["p", "q"]), shards_of(tmp_path, images=x)
    with pytest.raises(ValueError, match="hold different images"):
        run_stage(tmp_path, "psnr", a, b)
