"""The report: every number is there, nothing is loaded from elsewhere, warnings say what is so."""

import base64
import json
import re
import runpy
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from synthetic_scores import NAMES, NETWORK, make_generation, make_scores

from seesaw import tables
from seesaw.config import load_yaml
from seesaw.registry import LOSSES, METRICS
from seesaw.report import benchmark_table, item_name, read_captions, write_report
from seesaw.report.cells import best_rows, format_column, item_title, make_table
from seesaw.report.facts import formula, notices, protocol
from seesaw.report.page import first_sentence, score_columns

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img", "br", "link", "input", "hr"}
ROLES = ("canny", "depth", "segmentation", "face", "inception", "clip", "dino", "lpips")


class Page(HTMLParser):
    """Checks that tags nest, and collects what the tests ask for."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.stack, self.tags, self.tables, self.text = [], [], {}, ""
        self.feed(text)
        self.close()
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in VOID:
            self.stack.append((tag, attrs))
        if tag == "table":
            self.rows = []
            region = self.stack[-2][1]["aria-label"]
            assert region not in self.tables, f"two tables are called {region}"
            self.tables[region] = self.rows
        elif tag == "tr":
            self.rows.append({"apart": "apart" in self._class("tbody"), "cells": []})
        elif tag in ("td", "th"):
            self.rows[-1]["cells"].append({"tag": tag, "text": "", **attrs})

    def handle_endtag(self, tag):
        assert self.stack.pop()[0] == tag

    def handle_data(self, data):
        inside = {tag for tag, _ in self.stack}
        if inside & {"td", "th"}:
            self.rows[-1]["cells"][-1]["text"] += data
        elif not inside & {"style", "script"}:
            self.text += data

    def _class(self, tag):
        return next((a.get("class") or "" for t, a in reversed(self.stack) if t == tag), "")


def make_config():
    networks = {role: {"network": NETWORK.get(role, "")} for role in ROLES}
    networks["inception"]["network"] = NETWORK["rfid"]
    networks["face"]["network"] = NETWORK["identity"]
    return {
        "name": "a <b>small</b> world",
        "seed": 7,
        "data": {
            "resolution": 32,
            "crop": "resize-center-crop",
            "splits": {
                "train": {"source": "mini", "count": 8000},
                "val": {"source": "folder", "path": "photos & more", "limit": 2000},
            },
            "evaluation": "val",
            "reference": "train",
        },
        "networks": networks,
        "autoencoders": [
            {
                "name": name,
                "group": group,
                "family": "diffusers-kl",
                "config": {"patch": 4},
                "train": {"objective": "reconstruction", "steps": 1500},
            }
            for name, group in NAMES.items()
        ],
        "reconstruct": {"posterior": "mean"},
        "metrics": ["psnr", "kid", "canny"],
        "ifid": {"default": {"interpolation": "slerp", "alpha": 0.5, "k": 10, "references": 2000}},
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run: tables of synthetic scores, four figures, captions, benchmarks."""
    folder = tmp_path_factory.mktemp("results")
    for name in ("tables", "figures/gallery", "captions", "benchmarks/score_metric"):
        (folder / name).mkdir(parents=True)
    scores = make_scores()
    scores.to_csv(folder / "tables" / "scores.csv", index=False)
    frames = {
        "table2": tables.table2(scores),
        "table5": tables.table5(scores),
        "odd_one": pd.DataFrame(
            {
                "what": ["x <script>", None, "z"],
                "PCC": [0.91234, -0.5, np.nan],
                "PCC: n": [10, 10, 1],
                "PCC: low": [0.1, -0.9, np.nan],
                "PCC: high": [0.99, 0.1, np.nan],
                "PCC: p": [0.0012, 0.2, np.nan],
                "iFID kl (mini-inception)": [1.5, 2.25, 3.0],
            }
        ),
    }
    for name, frame in frames.items():
        frame.to_csv(folder / "tables" / f"{name}.csv", index=False)
    for number, name in enumerate(("figure3", "gallery/kl", "gallery/rae")):
        (folder / "figures" / f"{name}.png").write_bytes(PNG + bytes([number]))
    (folder / "figures" / "figure3.pdf").write_bytes(b"%PDF")
    (folder / "captions" / "figure3.rst").write_text(
        'Drift of {{ snakemake.config["seed"] }} *things*. More & more.\n'
    )
    (folder / "captions" / "gallery.rst").write_text(
        "Worst and best.\n\n.. raw:: html\n\n   <hr>\n"
    )
    (folder / "benchmarks" / "score_metric" / "a.tsv").write_text("s\tmax_rss\n2.5\t300.0\n")
    config = make_config()
    report = {
        "output": folder / "report" / "index.html",
        "title": config["name"],
        "config": config,
        "tables": {name: folder / "tables" / f"{name}.csv" for name in frames},
        "figures": {item_name(path): path for path in sorted((folder / "figures").rglob("*.png"))},
        "captions": read_captions((folder / "captions").glob("*.rst"), config),
        "scores": folder / "tables" / "scores.csv",
        "provenance": {"seesaw": "0.1.0", "git_commit": None, "libraries": {"numpy": "2.1"}},
        "benchmarks": benchmark_table(folder / "benchmarks"),
    }
    write_report(**report)
    text = report["output"].read_text()
    return {"folder": folder, "frames": frames, "text": text, "page": Page(text), "report": report}


def test_page_is_self_contained(run):
    assert not re.search(r"@import|url\(|\bfetch\(|XMLHttpRequest|<link|<iframe", run["text"])
    for tag, attrs in run["page"].tags:
        assert tag != "script" or not attrs
        if "src" in attrs:
            assert attrs["src"].startswith("data:image/png;base64,")
        if "href" in attrs and not attrs["href"].startswith("#"):
            assert tag == "a"
            target = run["report"]["output"].parent / attrs["href"]
            assert target.is_file(), attrs["href"]


def test_page_is_accessible(run):
    ids = [attrs["id"] for _, attrs in run["page"].tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in run["page"].tags if a.get("href", "").startswith("#")}
    assert targets <= set(ids)
    assert {"table5", "figure3", "gallery", "protocol", "time"} <= targets
    for tag, attrs in run["page"].tags:
        if tag == "img":
            assert attrs["alt"]
        if tag == "th":
            assert attrs["scope"] in ("col", "row")
    assert run["text"].startswith("<!doctype html>")


def test_every_row_has_a_cell_per_head(run):
    for name, rows in run["page"].tables.items():
        assert len({len(row["cells"]) for row in rows}) == 1, name


def numbers_of(frame):
    values = frame.select_dtypes("number").to_numpy(float).ravel()
    return sorted(values[~np.isnan(values)])


def shown_numbers(rows):
    heads = rows[0]["cells"]
    return sorted(
        float(cell["data-value"])
        for row in rows[1:]
        for head, cell in zip(heads, row["cells"], strict=True)
        if head["data-numeric"] == "yes" and cell["data-value"]
    )


def test_every_cell_of_a_table_is_there(run):
    frame = run["frames"]["table2"]
    # n images is text in this table and a number once read back
    expected = numbers_of(frame) + [float(n) for n in frame["n images"] if n]
    assert shown_numbers(run["page"].tables["Seesaw Table 2"]) == sorted(expected)
    shown = {c["text"] for row in run["page"].tables["Seesaw Table 2"] for c in row["cells"]}
    assert set(frame["Model"]) <= shown


def test_main_table_sets_baselines_apart(run):
    frame = run["frames"]["table5"]
    rows = run["page"].tables["Seesaw Table 5"]
    mine = [row for row in rows[1:] if not row["apart"]]
    assert [row["cells"][0]["text"] for row in mine] == list(
        frame.loc[frame["Row"] == "autoencoder", "Autoencoder"]
    )
    assert shown_numbers([rows[0], *mine]) == numbers_of(frame[frame["Row"] == "autoencoder"])
    apart = [row["cells"] for row in rows[1:] if row["apart"]]
    assert [cells[0]["text"] for cells in apart] == [
        "shuffled pairs (median of 10)",
        "all-zero map (median of 10)",
    ]
    heads = [cell["text"] for cell in rows[0]["cells"]]
    canny = next(place for place, head in enumerate(heads) if head.startswith("Canny drift"))
    header = next(h for h in frame.columns if h.startswith("Canny drift"))
    for cells, kind in zip(apart, ("shuffled pairs", "all-zero map")):
        median = frame.loc[frame["Row"] == kind, header].median()
        assert float(cells[canny]["data-value"]) == pytest.approx(median, rel=1e-12)
    each = run["page"].tables["Seesaw Table 5: baselines"]
    assert shown_numbers(each) == numbers_of(frame[frame["Row"] != "autoencoder"])


def test_best_of_each_metric_is_marked(run):
    scores = make_scores()
    rows = run["page"].tables["Seesaw Table 5"]
    columns = {column.label: column for column in score_columns(scores).values()}
    marked = 0
    for place, head in enumerate(rows[0]["cells"]):
        label = re.split(r"[↑↓]", head["text"])[0]
        best = [
            row["cells"][0]["text"]
            for row in rows[1:]
            if "best" in (row["cells"][place].get("class") or "").split()
        ]
        if label not in columns:
            assert best == []
            assert head.get("data-better", "") == ""
            continue
        column = columns[label]
        values = scores[(scores.metric == column.metric) & (scores.variant == "")]
        values = values.set_index("autoencoder")["value"]
        assert best == [values.idxmax() if column.higher_is_better else values.idxmin()]
        assert head["data-better"] == ("+" if column.higher_is_better else "-")
        assert ("↑" if column.higher_is_better else "↓") in head["text"]
        assert column.network in head["text"]
        assert column.unit in head["text"]
        marked += 1
    assert marked == 14


def test_intervals_stand_below_their_value(run):
    rows = run["page"].tables["Odd one"]
    assert [cell["text"] for cell in rows[0]["cells"]] == [
        "what",
        "PCC[95% interval], p, n",
        "iFID klmini-inception",
    ]
    assert rows[1]["cells"][1]["text"] == "0.9123[0.10, 0.99], p 0.0012, n 10"
    assert rows[2]["cells"][1]["text"] == "−0.5000[−0.90, 0.10], p 0.2, n 10"
    assert rows[3]["cells"][1]["text"] == ""
    assert rows[1]["cells"][0]["text"] == "x <script>"


def test_words_of_the_run_are_escaped(run):
    assert "<b>small</b>" not in run["text"]
    assert "a <b>small</b> world" in run["page"].text
    assert "photos & more" in run["page"].text


def test_figures_are_embedded_with_captions(run):
    images = [a for tag, a in run["page"].tags if tag == "img"]
    embedded = [base64.b64decode(a["src"].split(",")[1]) for a in images]
    assert embedded == [path.read_bytes() for path in run["report"]["figures"].values()]
    assert images[0]["alt"] == "Seesaw Figure 3. Drift of 7 things."
    assert "<em>things</em>" in run["text"]
    assert "<hr>" not in run["text"]
    links = [a["href"] for tag, a in run["page"].tags if tag == "a"]
    assert "../figures/figure3.pdf" in links
    assert "../figures/gallery/kl.pdf" not in links


def test_page_says_what_it_is(run):
    text = " ".join(run["page"].text.split())
    assert "These are not the official networks." in text
    for name in ("mini-depth", "mini-inception", "lpips-alex-random"):
        assert name in text
    assert "Fréchet distances depend on n. Here n = 2,000; the papers use 50,000." in text
    assert "(gFID, iFID) are biased upwards at small n" in text
    assert "10 of the 10 autoencoders were trained in this run" in text
    assert "slerp interpolation, alpha 0.5, drawn among the 10 nearest neighbours" in text
    assert "libraries: numpy" in text
    rows = [[c["text"] for c in row["cells"]] for row in run["page"].tables["Time and memory"]]
    assert rows[1] == ["score_metric", "1", "2.5", "", "2.5", "300"]
    assert rows[2] == ["all", "1", "2.5", "", "2.5", "300"]


def test_same_run_same_page(run):
    write_report(**run["report"])
    assert run["report"]["output"].read_text() == run["text"]


def test_page_without_benchmarks_figures_and_most_networks(run, tmp_path):
    config = make_config()
    config["networks"] = {"canny": {"network": "canny"}}
    config["autoencoders"] = [{"name": "kl-f4c4", "family": "my.module:AE", "weights": "w.pt"}]
    del config["ifid"]
    scores = make_scores(names={"kl-f4c4": "KL"})
    scores = scores[scores["metric"].isin(["psnr", "canny"])]
    scores.to_csv(tmp_path / "scores.csv", index=False)
    tables.table5(scores).to_csv(tmp_path / "table5.csv", index=False)
    parts = {
        "config": config, "figures": {}, "benchmarks": benchmark_table(tmp_path / "none"),
        "output": tmp_path / "index.html", "scores": tmp_path / "scores.csv",
        "tables": {"table5": tmp_path / "table5.csv"},
    }  # fmt: skip
    write_report(**run["report"] | parts)
    page = Page((tmp_path / "index.html").read_text())
    assert "official" not in page.text
    assert "biased" not in page.text
    assert "Time and memory" not in page.tables
    cells = [c for row in page.tables["Seesaw Table 5"] for c in row["cells"]]
    # one autoencoder is not the best of anything
    assert not any("best" in (cell.get("class") or "") for cell in cells)


def test_no_warning_where_nothing_is_to_be_warned_of():
    config = make_config()
    config["networks"] = {"inception": {"network": "inception", "weights": "pt_inception.pth"}}
    config["autoencoders"] = [{"name": "sd-vae", "family": "diffusers-kl", "weights": "sd.pt"}]
    found = notices(config, 50_000)
    assert not (found["trained"])
    assert not (found["random"])
    assert not (found["small_n"])
    assert not found["trained_autoencoders"]
    assert notices(config, 49_999)["small_n"]


def test_protocol_names_the_choices():
    lines = protocol(make_config())
    assert lines["Images scored"] == "val: folder photos & more, 2,000 images"
    assert lines["Reference set (neighbours)"] == "train: mini, 8,000 images"
    assert lines["Crop"] == "resize-center-crop"
    assert "rounded half up" in lines["Quantisation"]
    assert lines["Seed"] == "7"
    assert "reference images: 2,000" in lines["iFID"]
    config = make_config()
    config["data"]["splits"]["val"]["crop"] = "adm"
    config["reconstruct"]["quantisation"] = "uint8-floor"
    config["protocols"] = {"scored": ["seesaw", {"name": "mine", "like": "rae"}]}
    lines = protocol(config)
    assert lines["Crop"] == "adm"
    assert "truncated" in lines["Quantisation"]
    assert lines["Also by the protocols of"] == "seesaw, mine"


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([24.4812, 8.3, np.nan], ["24.48", "8.30", ""]),
        ([1234.5, 0.5], ["1,234", "0.5"]),
        ([2000, 50000], ["2,000", "50,000"]),
        ([0.0, 0.1, 0.5], ["0.0", "0.1", "0.5"]),
        ([0.12854, -0.5], ["0.1285", "−0.5000"]),
        ([0.03, 0.02512], ["0.0300", "0.0251"]),
        ([0.5, 0.00001, 0.0], ["0.5", "1e−5", "0.0"]),
        ([0.00005, np.nan], ["5e−5", ""]),
        ([1.0, 1.0], ["1", "1"]),
        ([123.456], ["123.5"]),
    ],
)
def test_format_column(values, texts):
    assert format_column(pd.Series(values)) == texts


def test_best_rows_with_ties_and_gaps():
    values = pd.Series([3.0, 1.0, np.nan, 3.0])
    assert best_rows(values, higher_is_better=True) == {0, 3}
    assert best_rows(values, higher_is_better=False) == {1}
    assert best_rows(values[2:], higher_is_better=True) == set()


def test_a_long_form_table_has_no_best():
    scores = make_scores()
    header = next(h for h, c in score_columns(scores).items() if c.metric == "psnr")
    names = ["kl-f4c4", "rae"]
    data = pd.DataFrame({"Autoencoder": [*names, *names], header: [1.0, 2.0, 3.0, 4.0]})
    table = make_table("t", data, columns=score_columns(scores), autoencoders=names)
    assert len(table.rows) == 4
    assert not any(cell.best for row in table.rows for cell in row)
    once = make_table("t", data[:2], columns=score_columns(scores), autoencoders=names)
    assert [row[1].best for row in once.rows] == [False, True]


def test_formulas_of_metrics_and_losses():
    assert formula("psnr") == METRICS["psnr"].formula
    assert formula("se-loss") == LOSSES["se-loss"].formula
    assert formula("spatial")
    assert formula("nobody") == ""


def test_undefined_cells_are_words_between_numbers(tmp_path):
    scores = make_scores()
    header = next(h for h, c in score_columns(scores).items() if c.metric == "rfid")
    names = ["kl-f4c4", "rae", "se-f4c4", "tokens-32"]
    cells = [2.0, "undefined", 1.25, None]
    pd.DataFrame({"Autoencoder": names, header: cells}).to_csv(tmp_path / "t.csv", index=False)
    data = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values=[""])
    table = make_table("t", data, columns=score_columns(scores), autoencoders=names)
    assert [row[1].text for row in table.rows] == ["2.00", "undefined", "1.25", ""]
    assert [row[1].value for row in table.rows] == ["2.0", "", "1.25", ""]
    assert [row[1].best for row in table.rows] == [False, False, True, False]
    assert table.heads[1].numeric
    assert table.heads[1].better == "-"
    baselines = data.assign(Row="shuffled pairs")
    both = pd.concat([data.assign(Row="autoencoder"), baselines], ignore_index=True)
    table = make_table("t", both, columns=score_columns(scores), autoencoders=names)
    assert [cell.text for cell in table.apart[0]][1] == "1.625"
    words = data.assign(**{header: ["a", "undefined", "b", "c"]})
    table = make_table("t", words, columns=score_columns(scores), autoencoders=names)
    assert [row[1].text for row in table.rows] == ["a", "undefined", "b", "c"]


def test_benchmark_table(tmp_path):
    files = {
        "reconstruct/a.tsv": "s\th:m:s\tmax_rss\n10.0\t0:00:10\t512.5\n",
        "reconstruct/b.tsv": "s\th:m:s\tmax_rss\n30.0\t0:00:30\tNA\n20\t0:00:20\t700\n",
        "collect_scores.tsv": "s\th:m:s\tmax_rss\n0.1\t0:00:00\t-\n",
        "score/deep/er.tsv": "s\th:m:s\tmax_rss\n2.0\t0:00:02\t100\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    table = benchmark_table(tmp_path)
    assert table["rule"].tolist() == ["reconstruct", "score", "collect_scores"]
    assert table["jobs"].tolist() == [3, 1, 1]
    assert table["total_s"].tolist() == [60.0, 2.0, 0.1]
    assert table["max_s"].tolist() == [30.0, 2.0, 0.1]
    assert table["max_mb"].tolist()[:2] == [700.0, 100.0]
    assert np.isnan(table["max_mb"].iloc[2])
    assert benchmark_table(tmp_path / "absent").empty


@pytest.mark.parametrize(
    ("path", "name", "title"),
    [
        ("results/mini/tables/table5.csv", "table5", "Seesaw Table 5"),
        ("results/figures/ifid_figure5.png", "ifid_figure5", "iFID Figure 5"),
        ("results/figures/gallery/kl-f4.png", "gallery/kl-f4", "Gallery: kl-f4"),
        ("results/tables/network_quality.csv", "network_quality", "Network quality"),
    ],
)
def test_item_names(path, name, title):
    assert item_name(Path(path)) == name
    assert item_title(name) == title


def test_first_sentence():
    assert first_sentence("<p>Drift of <em>x</em> &amp; y (eq.\n3). Then more.</p>") == (
        "Drift of x & y (eq. 3)."
    )


def test_unreadable_scores_are_named(run, tmp_path):
    pd.DataFrame({"autoencoder": ["a"]}).to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(ValueError, match="the scores lack the columns"):
        write_report(**run["report"] | {"scores": tmp_path / "scores.csv"})


def test_whole_config_is_shown(run):
    assert json.dumps("photos & more")[1:-1] in run["page"].text
    assert "interpolation: slerp" in run["page"].text


def test_report_script(run, tmp_path, monkeypatch):
    monkeypatch.setattr("seesaw.log.configure_logging", lambda path: None)
    report, folder = run["report"], run["folder"]
    snakemake = SimpleNamespace(
        log=[None],
        input=SimpleNamespace(
            tables=list(report["tables"].values()),
            figures=list(report["figures"].values()),
            captions=list((folder / "captions").glob("*.rst")),
            scores=report["scores"],
        ),
        params=SimpleNamespace(config=report["config"], benchmarks=str(folder / "benchmarks")),
        output=SimpleNamespace(page=str(tmp_path / "report" / "index.html")),
    )
    script = Path(__file__).parents[2] / "workflow" / "scripts" / "report.py"
    runpy.run_path(str(script), init_globals={"snakemake": snakemake}, run_name="__main__")
    page = Page((tmp_path / "report" / "index.html").read_text())
    assert page.tables.keys() == run["page"].tables.keys()
    assert page.tables["Seesaw Table 5"] == run["page"].tables["Seesaw Table 5"]
    assert "libraries: numpy" in page.text


def test_metrics_of_generation_are_listed_with_their_formulas():
    columns = score_columns(make_generation(names={"a": "A", "b": "B"}))
    for header in (
        "gFID (mini-inception)", "gFID(t) (mini-inception)", "gKID [1e-3] (mini-inception)",
        "IS (mini-inception)", "Precision [share] (mini-inception)", "Diffusion loss",
    ):  # fmt: skip
        assert header in columns
    assert all(formula(column.metric) for column in columns.values())


def test_protocol_says_how_samples_are_made():
    way = {"mode": "ode", "steps": 8}
    config = make_config() | {
        "gfid": {"references": ["val"]},
        "diffusion": {
            "models": ["SiT-B"],
            "train": {"steps": 400000},
            "samplers": [{"name": "plain", **way}, {"name": "guided", **way, "guidance": 2.0}],
        },
    }
    assert protocol(config)["gFID"] == (
        "SiT-B trained for 400,000 steps; samples plain (ode, 8 steps, no guidance); guided (ode, "
        "8 steps, guidance 2); the first of each is what a plain gFID stands for"
    )
    assert "gFID" not in protocol(make_config())


@pytest.mark.parametrize("name", ["mini.yaml", "config.yaml"])
def test_every_caption_is_sound(name):
    root = Path(__file__).parents[2]
    config = load_yaml(root / "config" / name)
    paths = [root / f"workflow/report/{item}.rst" for item in config["report"]["items"]]
    captions = read_captions(paths, config)
    for item in config["report"]["items"]:
        assert captions[item].startswith("<p>"), item
        assert "system-message" not in captions[item], item
        assert "{" not in captions[item], item


@pytest.mark.parametrize("toy", ["isolated_modes", "two_point_vae"])
def test_the_caption_of_each_toy_is_sound(toy):
    """Snakemake gives one caption to a rule; this one reads the wildcard."""
    from jinja2 import StrictUndefined, Template

    text = (Path(__file__).parents[2] / "workflow/report/toy.rst").read_text()
    shown = Template(text, undefined=StrictUndefined).render(snakemake={"wildcards": {"toy": toy}})
    assert f"{toy}.csv has" in shown
    assert "{" not in shown
