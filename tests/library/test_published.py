import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from seesaw import published as package
from seesaw.published import (
    SCHEMAS,
    autoencoders,
    benchmark,
    check,
    duplicate_pairs,
    family_of,
    noise_floor,
    read,
    scores,
    subsets,
)
from seesaw.published.data import FOLDER, TABLE5
from seesaw.score_table import describe, distinct, pool, sample_sets, values


@pytest.fixture(scope="module")
def published():
    return scores()


def cells(name):
    return pd.read_csv(FOLDER / f"{name}.csv", dtype=str, keep_default_na=False)


class TestPackage:
    def test_importing_it_costs_nothing(self):
        code = "import sys, seesaw.published; sys.exit('pandas' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0

    def test_names(self):
        assert all(getattr(package, name) is not None for name in package.__all__)
        with pytest.raises(AttributeError, match="no attribute 'raed'"):
            package.raed  # noqa: B018


class TestFiles:
    @pytest.mark.parametrize("name", SCHEMAS)
    def test_file_is_what_its_schema_says(self, name):
        table = read(name)
        assert len(table) == SCHEMAS[name].rows
        for column, about in SCHEMAS[name].columns.items():
            blank = table[column].isna() | (table[column].astype(object) == "")
            assert blank.sum() == about.blanks
            assert (table[column].dtype.kind in "fi") == (about.kind in ("number", "integer"))

    def test_every_file_has_a_schema_and_a_line_in_the_readme(self):
        files = {path.stem for path in FOLDER.glob("*.csv")}
        assert files == set(SCHEMAS)
        readme = (FOLDER / "README.md").read_text()
        assert all(f"`{name}.csv`" in readme for name in files)

    def test_printed_digits_survive(self):
        assert read("seesaw_table5").loc[0, "rfid"] == 0.2731
        assert read("ifid_table4")["n_reference_images"].tolist()[-1] == 1_000_000
        assert read("seesaw_table1")["ablation_picks_best_rfid"].sum() == 1

    def test_unknown_name_lists_the_valid_ones(self):
        with pytest.raises(ValueError, match="unknown published table 'seesaw_table6'.*seesaw_tab"):
            read("seesaw_table6")
        with pytest.raises(ValueError, match="unknown published table"):
            check("table6", pd.DataFrame())

    def test_missing_file_says_what_to_do(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="pip install --editable"):
            read("seesaw_table5", tmp_path)

    @pytest.mark.parametrize(
        "name, row, column, value, words",
        [
            ("seesaw_table5", 3, "rfid", "-0.1", "row 'ldm_f16d32_50ep': got '-0.1'.*0 to 500"),
            ("seesaw_table5", 0, "psnr", "271", "column psnr, .*from 5 to 60"),
            ("seesaw_table5", 0, "psnr", "27,1", "got '27,1'"),
            ("seesaw_table5", 0, "ssim", "", "1 blank cells .ldm_f16d64_50ep., the source"),
            ("seesaw_table5", 0, "gfid", "2.0", "26 blank cells .*the source leaves 27"),
            ("seesaw_table1", 2, "reports_rfid", "2", "row 'RAE': got '2', allowed is 0 or 1"),
            ("ifid_table3", 0, "cfg", "maybe", "row '-PSNR SiT-B maybe'.*one of no, yes"),
            ("ifid_table4", 0, "top_k", "1.5", "got '1.5', allowed is a whole number"),
            ("ifid_table4", 0, "pcc_cfg", "1.8", "a number from -1 to 1"),
            ("seesaw_table2", 1, "model", " REPA-E", "text without spaces"),
            ("seesaw_table2", 1, "model", "VA-VAE", "two rows 'VA-VAE'; model must name a row"),
            ("ifid_readme_benchmark", 0, "ifid", "nan", "got 'nan'"),
        ],
    )  # fmt: skip
    def test_violations_are_refused_in_words(self, name, row, column, value, words):
        table = cells(name)
        table.loc[row, column] = value
        with pytest.raises(ValueError, match=words):
            check(name, table)

    def test_wrong_shape_is_refused(self):
        table = cells("seesaw_table2")
        with pytest.raises(ValueError, match="5 rows, arXiv 2601.21633, Table 2 has 6"):
            check("seesaw_table2", table.iloc[1:])
        with pytest.raises(ValueError, match="allowed are exactly model, gfid"):
            check("seesaw_table2", table.drop(columns="is"))

    def test_spatial_is_the_mean_of_its_parts(self):
        table = read("seesaw_table5")
        apart = table[["canny_l1", "depth_l1", "seg_l1"]].mean(axis=1) - table["spatial"]
        assert apart.abs().max() < 1e-4

    def test_table2_is_table5_rounded(self):
        five, two = (scores(name) for name in ("table5", "table2"))
        names = autoencoders()["seesaw_table2"]
        for name, model in names[names != ""].items():
            for metric in ("rfid", "psnr", "ssim", "lpips", "spatial", "identity", "dino"):
                digits = 4 if metric in ("spatial", "identity", "dino") else 2
                value = values(five, metric)[name]
                assert values(two, metric)[model] == pytest.approx(value, abs=0.501 * 10**-digits)


class TestIdentity:
    def test_agrees_with_the_registry(self):
        sheet = yaml.safe_load((FOLDER.parents[1] / "config/autoencoders.yaml").read_text())
        registry = sheet["autoencoders"]
        for name, row in autoencoders().iterrows():
            entry = registry[name]
            assert row["group"] == entry["group"]
            assert row["training"] == entry["training"]
            assert row["duplicate_of"] == entry.get("duplicate_of", "")
            assert row["seesaw_table5"] == entry["published"].get("seesaw", "")
            assert row["ifid_benchmark"] == entry["published"].get("ifid", "")
        named = {n for n, e in registry.items() if {"seesaw", "ifid"} & set(e["published"])}
        assert named - set(autoencoders().index) == {"eq-vae-ema"}

    def test_counts(self):
        table = autoencoders()
        both = (table["seesaw_table5"] != "") & (table["ifid_benchmark"] != "")
        assert both.sum() == 6
        assert table.loc[table["seesaw_table5"] != "", "family"].nunique() == 6
        assert family_of(["svg_t2i_R_stage2_512", "eq-vae"]) == ["SVG", "EQ-VAE"]

    def test_unknown_autoencoder(self):
        with pytest.raises(ValueError, match="unknown published autoencoder 'kl-f4c4'"):
            family_of(["kl-f4c4"])


class TestScores:
    def test_every_printed_number_is_there_once(self, published):
        table = read("seesaw_table5")
        assert len(published[published["metric"].isin(TABLE5.values())]) == 33 * 12 + 6
        for column, metric in TABLE5.items():
            found = published[published["metric"] == metric].set_index("published_name")["value"]
            printed = table.set_index("weight_name")[column].dropna()
            assert found.to_dict() == printed.to_dict()

    def test_distinct_keeps_every_gfid(self, published):
        once = distinct(published)
        assert len(pool(once)) == 29
        assert values(once, "gfid").notna().sum() == 6

    def test_what_only_table2_has(self, published):
        assert values(published, "inception-score")["e2e-vavae-hf"] == 219.3
        assert values(published, "latent-canny")["e2e-vae"] == 0.1837
        assert values(published, "precision").notna().sum() == 4

    def test_units_and_directions(self, published):
        assert describe(published, "psnr").quantity == "PSNR [dB]"
        assert describe(published, "rfid").network == "InceptionV3"
        assert describe(published, "inception-score").higher_is_better
        assert not describe(published, "latent-depth").higher_is_better
        assert [s.variant for s in sample_sets(published)] == [""]

    def test_unknown_table(self):
        with pytest.raises(ValueError, match="unknown table of scores 'table3'"):
            scores("table3")

    def test_subsets(self, published):
        found = subsets(published)
        sizes = {name: len(pool(part)) for name, part in found.items()}
        assert sizes == {
            "all rows": 33,
            "rows with gFID": 6,
            "duplicates removed": 29,
            "one per family": 6,
        }
        votes = found["one per family"]
        rows = read("seesaw_table5")
        svg = rows[rows["group"].isin(["SVG", "SVG-T2I"])]
        assert values(votes, "psnr")["SVG"] == pytest.approx(svg["psnr"].mean())
        assert values(votes, "gfid")["VA-VAE"] == 2.17
        uae = rows[rows["weight_name"].isin(["uae", "uae-stage2", "uae-stage3"])]
        assert values(votes, "rfid")["UAE"] == pytest.approx(uae["rfid"].mean())


class TestBenchmark:
    def test_rows(self):
        table = benchmark()
        assert len(table) == 14
        assert table.loc[~table["in_paper"], "vae"].tolist() == ["VA-VAE (c64)"]
        assert table.loc[table["gfid_b_no_cfg"].isna(), "vae"].tolist() == ["RAE"]
        assert table["autoencoder"].is_unique


class TestNoiseFloor:
    def test_of_the_duplicate_rows(self):
        floor = noise_floor()
        assert floor["rfid"] == pytest.approx(0.0004)
        assert floor["psnr"] == pytest.approx(0.0001)
        assert floor["identity"] == pytest.approx(0.001)
        assert floor["face-recall"] == pytest.approx(0.0018)
        assert "gfid" not in floor
        assert np.isfinite(floor).all()

    def test_uae_repeats_its_last_stage(self):
        pairs = duplicate_pairs().set_index("autoencoder")
        assert len(pairs) == 4
        assert (pairs.loc["uae"].drop(["duplicate_of", "gfid"]) == 0).all()
