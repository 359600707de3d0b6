import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seesaw.config import load_yaml, protocol
from seesaw.evaluation_set import IMAGENET_VAL, KEY, in_words
from seesaw.files import write_csv
from seesaw.published import autoencoders, noise_floor, read, scores
from seesaw.published.reproduction import (
    COLUMNS,
    IFID_DEFAULT,
    PAPERS_NETWORKS,
    VERDICTS,
    page,
    published_values,
    read_own,
    reproduction,
)
from seesaw.readings import described
from seesaw.registry import NETWORKS
from seesaw.score_table import check_scores

STUDY = Path(__file__).parents[2] / "config/config.yaml"
PROTOCOL = (
    "data=ImageNet 256; crop=resize-center-crop; resolution=256; evaluation=val; "
    f"{KEY}={IMAGENET_VAL}; quantisation=uint8-round; posterior=mean"
)
NETWORK = {"rfid": "inception", "lpips": "lpips-alex", "canny": "canny", "ifid": "inception"}


def own(rows):
    """Scores of a run: (autoencoder, metric, value, and what differs from the papers' protocol)."""
    base = {
        "group": "G", "training": "", "variant": "", "n": 50_000, "unit": "1",
        "higher_is_better": False, "duplicate_of": "", "note": "",
    }  # fmt: skip
    return check_scores(
        pd.DataFrame(
            [
                {
                    **base,
                    "autoencoder": name,
                    "metric": metric,
                    "value": value,
                    "network": NETWORK.get(metric, ""),
                    "protocol": PROTOCOL,
                    **more,
                }
                for name, metric, value, more in rows
            ]
        )
    )


def find(table, name, metric, setting=""):
    rows = table[
        (table["autoencoder"] == name) & (table["metric"] == metric) & (table["setting"] == setting)
    ]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture(scope="module")
def nothing():
    return reproduction()


class TestPublishedValues:
    def test_every_printed_value_of_an_autoencoder_is_there(self, nothing):
        only2 = read("seesaw_table2")[["is", "precision", "recall", "latent_canny", "latent_depth"]]
        benchmark = read("ifid_readme_benchmark")[["ifid", "gfid_xl_no_cfg", "gfid_b_no_cfg"]]
        expected = 33 * 12 + 6 + only2.notna().to_numpy().sum()
        expected += benchmark.notna().to_numpy().sum() + 4 * 2
        assert len(nothing) == expected
        assert not nothing.duplicated(["autoencoder", "metric", "setting"]).any()

    def test_printed_digits(self):
        values = published_values().set_index(["autoencoder", "metric", "setting"])["published"]
        assert values["vavae_f16d32", "psnr", ""] == "24.4762"
        assert values["rae_dinov2_reconstruction", "ifid", IFID_DEFAULT] == "7.68"

    def test_second_sources(self, nothing):
        row = find(nothing, "vavae_f16d32", "PSNR")
        assert row["source"] == "Seesaw Table 5"
        assert row["also_published"] == "24.48 (Seesaw Table 2, VA-VAE)"
        row = find(nothing, "e2e-vavae-hf", "gFID", "its authors' report")
        assert row["also_published"] == "1.69 (Seesaw Table 2, REPA-E)"

    def test_noise_floor_is_of_the_duplicates(self, nothing):
        row = find(nothing, "vavae_f16d32", "rFID")
        assert row["noise_floor"] == noise_floor()["rfid"]
        assert row["tolerance"] == pytest.approx(0.0004 + 0.00005)
        assert row["same_model_twice"] == pytest.approx(0.4337 - 0.4329)
        row = find(nothing, "dmvae", "iFID", IFID_DEFAULT)
        assert row["noise_floor"] is None
        assert row["tolerance"] == pytest.approx(0.005)


class TestVerdicts:
    def test_nothing_was_run(self, nothing):
        assert tuple(nothing.columns) == COLUMNS
        assert set(nothing["verdict"]) == {"not run"}
        assert nothing["ours"].isna().all()

    def test_own_numbers_fed_back_are_the_same(self):
        """The papers' numbers as if measured here by their protocol."""
        fed = [
            (row.autoencoder, row.metric, float(row.published), {})
            for row in published_values().itertuples()
            if row.metric in ("psnr", "ssim", "rfid", "lpips", "canny")
        ]
        table = reproduction(own(fed))
        done = table[table["verdict"] != "not run"]
        assert len(done) == len(fed) == 33 * 5
        assert set(done["verdict"]) == {"same"}
        assert (done["difference"] == 0).all()
        assert (done["ranked"] == 33).all()
        assert done["rank_ours"].tolist() == done["rank_published"].tolist()

    def test_within_the_noise_floor_and_beyond(self):
        close = own([("vavae_f16d32", "rfid", 0.4329 + 0.00044, {})])
        assert find(reproduction(close), "vavae_f16d32", "rFID")["verdict"] == "same"
        far = own([("vavae_f16d32", "rfid", 0.4329 - 0.00047, {})])
        row = find(reproduction(far), "vavae_f16d32", "rFID")
        assert row["verdict"] == "differs"
        assert row["difference"] == pytest.approx(-0.00047)

    def test_rank_saves_a_systematic_shift(self):
        names = ["vavae_f16d32", "rae_dinov2_reconstruction", "vtp_b"]
        rfid = {"vavae_f16d32": 0.28, "rae_dinov2_reconstruction": 0.57, "vtp_b": 0.74}
        table = reproduction(own([(name, "rfid", rfid[name], {}) for name in names]))
        rows = [find(table, name, "rFID") for name in names]
        assert [row["verdict"] for row in rows] == ["same rank"] * 3
        assert [row["rank_ours"] for row in rows] == [1, 2, 3]
        rfid["vtp_b"] = 0.5
        table = reproduction(own([(name, "rfid", rfid[name], {}) for name in names]))
        rows = [find(table, name, "rFID") for name in names]
        assert [row["verdict"] for row in rows] == ["same rank", "differs", "differs"]

    def test_higher_is_better_ranks_the_other_way(self):
        fed = own([("uae", "psnr", 30.0, {}), ("vtp_b", "psnr", 20.0, {})])
        table = reproduction(fed)
        assert find(table, "uae", "PSNR")["rank_ours"] == 1
        assert find(table, "uae", "PSNR")["verdict"] == "same rank"

    @pytest.mark.parametrize(
        "metric, title, more, words",
        [
            ("psnr", "PSNR", {"protocol": PROTOCOL.replace("=256;", "=32;")}, "resolution 32"),
            ("psnr", "PSNR", {"protocol": PROTOCOL.replace("resize-c", "adm-c")}, "crop adm-c"),
            ("psnr", "PSNR", {"protocol": PROTOCOL.replace("round", "floor")}, "uint8-floor"),
            ("psnr", "PSNR", {"protocol": PROTOCOL.replace("mean", "sample")}, "posterior sample"),
            ("psnr", "PSNR", {"n": 2000}, "2,000 images, not 50,000"),
            ("psnr", "PSNR", {"n": np.nan}, "unknown images"),
            ("psnr", "PSNR", {"protocol": ""}, "images that its protocol does not name"),
            ("psnr", "PSNR", {"protocol": PROTOCOL.replace(KEY, "x")}, f"(no {KEY}: it is of an"),
            ("rfid", "rFID", {"network": "mini-inception"}, "network mini-inception"),
            ("rfid", "rFID", {"network": ""}, "network not named"),
            ("lpips", "LPIPS", {"network": "lpips-alex-random"}, "network lpips-alex-random"),
            ("rfid", "rFID", {"network": "inception-clean"}, "network inception-clean"),
            ("canny", "Canny drift", {"network": "canny-512"}, "network canny-512"),
            ("depth", "Depth drift", {"network": "mini-depth"}, "(dpt_hybrid_midas)"),
            ("depth", "Depth drift", {"network": "dpt_hybrid_midas-384"}, "(dpt_hybrid_midas)"),
            ("dino", "DINO similarity", {"network": "dinov2_vitb14-crop"}, "(dinov2_vitb14)"),
            ("identity", "Identity", {"network": "my-buffalo_s"}, "(buffalo_s)"),
            ("spatial", "Spatial drift", {"network": "canny"}, "canny, dpt_hybrid_midas, uni"),
            (
                "spatial",
                "Spatial drift",
                {"network": "canny-512 + dpt_hybrid_midas + uniformer_upernet"},
                "network canny-512 + ",
            ),
        ],
    )
    def test_another_protocol_is_never_ours(self, metric, title, more, words):
        """A value equal to the published one does not help if it was measured otherwise."""
        value = scores().set_index(["autoencoder", "metric"])["value"]["uae", metric]
        row = find(reproduction(own([("uae", metric, value, more)])), "uae", title)
        assert row["verdict"] == "other protocol"
        assert row["ours"] is None
        assert row["difference"] is None
        assert words in row["note"]

    def test_the_papers_networks_count_joined_or_alone(self):
        depth = {"network": "dpt_hybrid_midas"}
        row = find(reproduction(own([("uae", "depth", 0.0188, depth)])), "uae", "Depth drift")
        assert row["verdict"] == "same"
        for joined in (" + ", "+"):
            parts = joined.join(["canny", "dpt_hybrid_midas", "uniformer_upernet"])
            fed = own([("uae", "spatial", 0.5, {"network": parts})])
            assert find(reproduction(fed), "uae", "Spatial drift")["verdict"] == "differs"

    def test_the_papers_networks_are_those_of_the_study(self):
        players = {r: p["network"] for r, p in load_yaml(STUDY)["networks"].items()}
        assert {name for names in PAPERS_NETWORKS.values() for name in names} <= set(NETWORKS)
        for metric, names in PAPERS_NETWORKS.items():
            entry = described(metric)
            role = None if entry is None else entry.role
            if role is None:  # a network per variant or part
                parts = ("canny", "depth", "segmentation") if metric == "spatial" else ()
                parts = parts or (metric.partition("-l1 ")[2] or metric.removeprefix("latent-"),)
            else:
                parts = (role,)
            assert names == tuple(players[part] for part in parts), metric

    @pytest.mark.parametrize(
        "changes, words",
        [
            ({}, ""),
            ({"source": "folder", "path": "photos"}, "'folder photos, all images'"),
            ({"source": "folder", "path": f"a; {KEY}={IMAGENET_VAL}"}, "'folder a, evaluation_set"),
            ({"source": "mini", "count": 50_000}, "'mini, 50000 images'"),
            ({"split": "train"}, "'imagenet train, 1281167 images'"),
            ({"limit": 2000}, "'imagenet val, 2000 images'"),
            ({"limit": 50_000}, ""),
            ({"images": 49_000, "limit": 49_500}, "'imagenet val, 49000 images'"),
            ({"skip_problems": True}, "'imagenet val, 50000 images, unreadable ones left out'"),
        ],
    )
    def test_a_verdict_is_for_the_images_not_for_the_name(self, changes, words):
        """A copy of the study's config keeps its name; what its splits are decides."""
        config = load_yaml(STUDY)
        val = config["data"]["splits"]["val"] | changes
        kept = {"folder": ("source", "path"), "mini": ("source", "count"), "imagenet": val}
        val = {key: value for key, value in val.items() if key in kept[val["source"]]}
        config["data"]["splits"]["val"] = val
        assert "ImageNet" in config["name"]
        carried = {"data": config["name"], **protocol(config)}
        carried["crop"] = "resize-center-crop"  # also where nothing is cropped: one reason only
        more = {"protocol": "; ".join(f"{key}={value}" for key, value in carried.items())}
        more |= {"network": "buffalo_s", "n": 7000}
        row = find(reproduction(own([("uae", "identity", 0.7434, more)])), "uae", "Identity")
        assert row["verdict"] == ("other protocol" if words else "same")
        assert words in row["note"]
        if words:
            assert row["note"].count(";") == 0, "another reason than the images"
        assert (in_words(val) == IMAGENET_VAL) == (not words)

    def test_faces_need_no_number_of_images(self):
        face = {"network": "buffalo_s", "n": 7000}
        row = find(reproduction(own([("uae", "identity", 0.7434, face)])), "uae", "Identity")
        assert row["verdict"] == "same"

    def test_ifid_by_its_variant(self):
        said = f"{PROTOCOL}; ifid={IFID_DEFAULT}"
        fed = own(
            [
                ("dmvae", "ifid", 9.0, {"variant": "linear alpha=0.5 k=1 n=50000"}),
                ("dmvae", "ifid", 8.14, {"variant": IFID_DEFAULT, "protocol": said}),
                ("vavae_f16d32", "ifid", 19.57, {"protocol": f"{PROTOCOL}; ifid=slerp alpha=0.5"}),
            ]
        )
        table = reproduction(fed)
        assert find(table, "dmvae", "iFID", IFID_DEFAULT)["verdict"] == "same"
        row = find(table, "vavae_f16d32", "iFID", IFID_DEFAULT)
        assert row["verdict"] == "other protocol"

    @pytest.mark.parametrize(
        "said, verdict",
        [
            ("mode=sde; steps=250; reference=adm-train", "same"),
            ("mode=sde; steps=250; guidance=1.8; reference=adm-train", "other protocol"),
            ("mode=sde; steps=250; reference=val", "other protocol"),
            ("mode=heun; steps=6; reference=adm-train", "other protocol"),
        ],
    )
    def test_gfid_by_its_samples(self, said, verdict):
        reference = said.rpartition("=")[2]
        more = {
            "variant": f"SiT-XL plain ref={reference}",
            "protocol": f"{PROTOCOL}; {said}; samples=SiT-XL plain",
            "network": "inception",
        }
        table = reproduction(own([("vavae_f16d32", "gfid", 8.57, more)]))
        row = find(table, "vavae_f16d32", "gFID", "SiT-XL, no guidance")
        assert row["verdict"] == verdict
        for setting in ("SiT-B, no guidance", "its authors' report"):
            assert find(table, "vavae_f16d32", "gFID", setting)["verdict"] == "not run"

    def test_the_authors_gfid_is_never_reproduced_by_a_model_of_ours(self):
        table = reproduction(own([("uae", "gfid", 1.68, {"network": "inception"})]))
        row = find(table, "uae", "gFID", "its authors' report")
        assert row["verdict"] == "other protocol"
        assert "not its authors'" in row["note"]

    def test_control_needs_the_published_backbone(self):
        for backbone, verdict in (("SiT-Ti", "other protocol"), ("lightningdit-xl/1", "same")):
            more = {
                "variant": "canny",
                "network": "canny",
                "protocol": f"{PROTOCOL}; backbone={backbone}",
            }
            table = reproduction(own([("vavae_f16d32", "control-l1", 0.1962, more)]))
            row = find(table, "vavae_f16d32", "Condition L1", "ControlNet, canny")
            assert row["verdict"] == verdict

    @pytest.mark.parametrize(
        "condition, hints, verdict",
        [
            ("canny", "canny", "differs"),
            ("canny", "canny-512", "other protocol"),
            ("depth", "dpt_hybrid_midas", "differs"),
            ("depth", "mini-depth", "other protocol"),
        ],
    )
    def test_control_needs_hints_of_the_papers_network(self, condition, hints, verdict):
        said = f"{PROTOCOL}; backbone=lightningdit-xl/1; condition network={hints}"
        more = {"variant": condition, "network": "inception", "protocol": said}
        table = reproduction(own([("vavae_f16d32", "control-fid", 0.5, more)]))
        rows = table[(table["setting"] == f"ControlNet, {condition}") & table["ours"].notna()]
        found = table[table["verdict"].isin(["differs", "other protocol"])]
        assert len(rows) == (verdict == "differs")
        assert found["verdict"].tolist() == [verdict]

    def test_strangers_and_undefined_scores_change_nothing(self, nothing):
        fed = own([("kl-f4c4", "psnr", 24.0, {}), ("uae", "psnr", np.nan, {})])
        assert reproduction(fed)["verdict"].tolist() == nothing["verdict"].tolist()


class TestFiles:
    def test_csv_and_page_hold_no_nan(self, tmp_path):
        names = autoencoders().index[:3]
        table = reproduction(own([(name, "psnr", 25.0, {}) for name in names]))
        write_csv(tmp_path / "reproduction.csv", table)
        for text in ((tmp_path / "reproduction.csv").read_text(), page(table)):
            assert not re.search(r"(?<![a-z])(nan|none|<na>)(?![a-z])", text.lower())

    def test_page_is_whole(self, nothing):
        text = page(nothing)
        assert "Nothing can be compared yet" in text
        assert text.count("<tr") == len(nothing) + nothing["metric"].nunique() + 2
        assert "http" not in text
        assert all(f"<b>{verdict}</b>" in text for verdict in VERDICTS)

    def test_reading_a_run(self, tmp_path):
        assert read_own(None) is None
        fed = own([("uae", "psnr", 28.2569, {})])
        write_csv(tmp_path / "scores.csv", fed)
        table = reproduction(read_own(tmp_path / "scores.csv"))
        assert find(table, "uae", "PSNR")["verdict"] == "same"
        write_csv(tmp_path / "scores.csv", fed.drop(columns="protocol"))
        with pytest.raises(ValueError, match="lacks the column protocol"):
            read_own(tmp_path / "scores.csv")
