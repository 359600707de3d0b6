"""What every number is: the texts of the registries, the page made from them, and the tables."""

import re

import numpy as np
import pandas as pd
import pytest
from metric_shards import binary_maps, pair_of, shards_of
from synthetic_scores import NETWORK, make_generation

from seesaw import generation_tables, tables
from seesaw.docs import registry_page
from seesaw.figures.correlation import figure2
from seesaw.figures.generation import figure1, gfid_t, ifid_figure1
from seesaw.metric_page import metrics_page, moved_by, players
from seesaw.metrics import Measured, Options, Reading
from seesaw.metrics.collect import _rows
from seesaw.metrics.score import scores_of
from seesaw.protocols import AXES, PROTOCOLS
from seesaw.readings import READINGS, described, named
from seesaw.registry import LOSSES, METRICS, NETWORKS, ROLES, STAGES
from seesaw.results import Score, write_scores
from seesaw.score_table import check_scores, describe, label, network_label

OFFICIAL = {name: entry for name, entry in NETWORKS.entries.items() if entry.weights == "file"}
STAND_INS = [
    name for name in NETWORKS if name.startswith("mini-") or NETWORKS[name].label.count("random")
]
EVERYTHING = {**METRICS.entries, **LOSSES.entries, **READINGS}


class TestTexts:
    @pytest.mark.parametrize("name", EVERYTHING)
    def test_every_number_has_formula_source_and_traps(self, name):
        entry = EVERYTHING[name]
        assert entry.label
        assert entry.unit
        assert entry.formula
        assert re.search(r"arXiv \d{4}\.\d{5}|\w+/[\w-]+ [0-9a-f]{7}|\b(19|20)\d\d\b", entry.source)
        assert entry.traps
        assert all(entry.traps)
        assert all(entry.beside.values())

    @pytest.mark.parametrize("name", NETWORKS)
    def test_every_network_has_source_licence_and_traps(self, name):
        entry = NETWORKS[name]
        assert entry.source
        assert entry.licence
        assert entry.traps
        assert all(entry.traps)

    def test_a_name_is_described_once(self):
        assert len(EVERYTHING) == len(METRICS.entries) + len(LOSSES.entries) + len(READINGS)
        labels = [entry.label for entry in EVERYTHING.values()]
        assert len(set(labels)) == len(labels)
        for name, entry in EVERYTHING.items():
            assert described(name) is entry
            assert label(name) == entry.label
        assert described("never heard of") is None
        assert label("never heard of") == "never heard of"

    @pytest.mark.parametrize("name", READINGS)
    def test_readings_name_stages_and_roles_that_exist(self, name):
        entry = READINGS[name]
        assert entry.stage in STAGES
        assert entry.role is None or entry.role in ROLES
        score = Score(value=1.0, n=1, metric_version="1", **named(name))
        assert (score.metric, score.unit) == (name, entry.unit)
        assert score.higher_is_better == entry.higher_is_better


class TestPage:
    page = metrics_page("<!-- note -->")

    def section(self, title):
        return self.page.split(f"\n### {title}\n")[1].split("\n### ")[0].split("\n## ")[0]

    @pytest.mark.parametrize("name", EVERYTHING)
    def test_has_a_section_with_all_that_is_known(self, name):
        entry = EVERYTHING[name]
        section = self.section(f"{entry.label} (`{name}`)")
        for words in (entry.formula, entry.source, *entry.traps, *entry.beside, *moved_by(entry)):
            assert words in section
        assert ("higher is better" in section.split("\n- ")[0]) == entry.higher_is_better
        role = getattr(entry, "role", None)
        assert role is None or all(f"`{player}`" in section for player in players(role))

    @pytest.mark.parametrize("name", NETWORKS)
    def test_has_a_section_per_network(self, name):
        section = self.section(f"{NETWORKS[name].label} (`{name}`)")
        for words in (NETWORKS[name].source, NETWORKS[name].licence, *NETWORKS[name].traps):
            assert words in section

    @pytest.mark.parametrize("name", ["identity", "face-recall"])
    def test_says_beside_the_metric_that_insightface_is_not_for_commerce(self, name):
        section = self.section(f"{METRICS[name].label} (`{name}`)")
        assert re.search(r"licence of `buffalo_s`: .*non-commercial", section)

    def test_licences_stand_beside_the_metrics_that_the_networks_are_meant_for(self):
        assert "licence of `clip_vit_b32`: MIT" in self.section("CLIP similarity (`clip`)")
        assert "licence of `inception`" not in self.section("CLIP similarity (`clip`)")
        assert "licence of `inception`" in self.section("gFID (`gfid`)")
        assert "licence" not in self.section("PSNR (`psnr`)")

    def test_has_every_named_protocol_with_its_choices(self):
        rows = self.page.split("## Named protocols")[1].split("\n## ")[0]
        for name, preset in PROTOCOLS.items():
            cells = [str(getattr(preset.protocol, axis)) for axis in AXES]
            assert f"| `{name}` | {' | '.join(cells)} |" in rows
            assert all(words in rows for words in (preset.source, *preset.notes))

    def test_the_list_of_names_has_the_licences_too(self):
        rows = registry_page().split("## Networks")[1].split("## ")[0]
        for name, entry in NETWORKS.entries.items():
            assert re.search(rf"\| `{name}` \|.*\| {re.escape(entry.licence)} \|", rows)


class FakeDistance:
    """Stands in for a perceptual network."""

    def distance(self, a, b):
        return np.abs(a.astype(float) - b).mean((1, 2, 3))


def inputs_for(metric, folder):
    """Reference and source of random data of the kind that a metric reads."""
    entry, rng = METRICS[metric], np.random.default_rng(0)
    n, side = 40, 192 if "ms" in metric else 16
    if entry.reads == "images":
        a, b = (rng.integers(0, 256, (8, 3, side, side)).astype(np.uint8) for _ in "ab")
        return pair_of(folder, "images", a, b)
    kind = ROLES[entry.role][0]
    network = next(name for name in NETWORKS if NETWORKS[name].kind == kind)
    if kind in ("edges", "map"):
        maps = (binary_maps(seed, n) for seed in (0, 1))
        return pair_of(folder, "map", *maps, meta={"network": network})
    if kind == "labels":
        a, b = (rng.integers(0, 3, (n, 8, 8)).astype(np.uint8) for _ in "ab")
        meta = {"network": network, "palette": [[0, 0, 0], [255, 0, 0], [0, 255, 255]]}
        return pair_of(folder, "labels", a, b, meta=meta)
    a, b = (rng.normal(size=(n, 4)).astype(np.float32) for _ in "ab")
    if kind == "faces":
        found = np.ones(n, np.uint8)
        return tuple(shards_of(folder, found=found, embedding=rows) for rows in (a, b))
    return pair_of(folder, "features", a, b)


@pytest.mark.parametrize("metric", METRICS)
def test_every_variant_that_a_metric_gives_is_explained(metric, tmp_path):
    measured = METRICS.load(metric)(
        *inputs_for(metric, tmp_path), Options(batch_size=16, network=FakeDistance())
    )
    variants = {reading.variant for reading in measured.readings} - {""}
    assert variants == set(METRICS[metric].beside), "`beside` says what each variant is"


class TestHeaders:
    """A number of a stand-in never stands under an official network's name."""

    def test_stand_ins_say_what_they_are_and_official_networks_are_not_called_so(self):
        for name in STAND_INS:
            assert re.search(r"\b(mini|random)\b", NETWORKS[name].label), name
        for name, entry in OFFICIAL.items():
            assert not re.search(r"\b(mini|random)\b", entry.label), name
        labels = [NETWORKS[name].label for name in NETWORKS]
        assert len(set(labels)) == len(labels)

    @pytest.mark.parametrize(
        "metric, network",
        [
            (metric, network)
            for metric in METRICS
            if METRICS[metric].role is not None
            for network in STAND_INS
            if NETWORKS[network].kind in ROLES[METRICS[metric].role]
        ],
    )
    def test_name_the_network_that_a_score_was_made_with(self, metric, network, tmp_path):
        measured = Measured([Reading(0.5, 9)])
        scores = scores_of(metric, METRICS[metric], measured, network, {})
        write_scores(tmp_path / "s.json", autoencoder="a", scores=scores, provenance={})
        rows = pd.DataFrame(_rows(tmp_path / "s.json", "mini"))
        rows = check_scores(rows.assign(group="", training="", duplicate_of=""))
        header = describe(rows, metric).header
        assert header.endswith(f"({NETWORKS[network].label})")
        assert header.startswith(METRICS[metric].label)
        assert not [name for name, entry in OFFICIAL.items() if entry.label in header]

    @pytest.fixture(scope="class")
    def made(self):
        scores = make_generation(samplers=("plain",), times=(0, 0.4))
        return scores, {
            "table1": generation_tables.table1(scores),
            "table2": tables.table2(scores),
            "table5": tables.table5(scores),
            "generation": generation_tables.generation(scores),
            "ifid_table1": generation_tables.ifid_table1(scores),
            "ifid_table3": generation_tables.ifid_table3(scores),
            "ifid_table4": tables.ifid_table4(scores),
            "ifid_table5": tables.ifid_table5(scores),
        }

    def test_of_every_table_name_the_network_of_the_metric_that_they_name(self, made):
        scores, made = made
        names = {
            label(metric): describe(scores, metric).network
            for metric in scores["metric"].unique()
            if describe(scores, metric).network
        }
        assert names["rFID"] == "mini-inception"
        assert len(names) > 12
        found = set()
        for table in made.values():
            for header in (header for header in table.columns if not header.startswith("n ")):
                for name, network in names.items():
                    if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", header):
                        assert network in header, header
                        found.add(name)
        assert {"rFID", "gFID", "iFID", "KID", "LPIPS", "CLIP similarity", "Identity"} <= found

    def test_rows_that_name_a_metric_name_its_network(self, made):
        made = made[1]
        assert made["ifid_table1"]["Metric"].str.endswith("(mini-inception)").all()
        third = made["ifid_table3"].set_index("Metric")["Network"]
        assert set(third[["rFID", "KID", "iFID"]]) == {"mini-inception"}
        assert set(third[["LPIPS"]]) == {network_label(NETWORK["lpips"])}

    @pytest.mark.parametrize("draw", [figure1, figure2, gfid_t, ifid_figure1])
    def test_figures_that_name_a_frechet_distance_name_its_network(self, draw):
        figure, _ = draw(make_generation())
        words = [text.get_text() for text in figure.findobj(lambda part: hasattr(part, "get_text"))]
        whole = " ".join(" ".join(words).split())
        assert re.search(r"[gri]FID", whole)
        assert "mini-inception" in whole
