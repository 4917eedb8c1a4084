"""The page as a whole: every section, nothing from outside, every name escaped, in 2D and 3D."""

import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fake_data.arrays import ball, make_method, tiny_config
from fake_data.discs import write_array, write_discs
from umanet.cli import main
from umanet.config import format_config
from umanet.data.index import ClassDefinition, DatasetIndex, write_index
from umanet.errors import OutputError
from umanet.inference.model_file import load_model, save_model
from umanet.report import build_report, write_agreement
from umanet.report.build import SECTIONS

SHAPES = {2: (20, 26), 3: (10, 12, 8)}
NASTY = '<script>alert("x")</script> & <b>'
VOID = {"meta", "img", "input", "path", "use", "link", "br"}


class Page(HTMLParser):
    """Tags with their attributes, headings, and what is open at the end."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)

    def count(self, tag, klass):
        return sum(name == tag and klass in (attrs.get("class") or "").split() for name, attrs in self.tags)

    def addresses(self):
        names = ("src", "href", "xlink:href", "action", "srcset", "data", "poster")
        return [attrs[name] or "" for _, attrs in self.tags for name in names if name in attrs]


@dataclass(frozen=True)
class Made:
    """A run that was not trained, and its report."""

    index: DatasetIndex
    run: Path
    report: Path

    @property
    def page(self) -> Page:
        return Page(self.report.read_text(encoding="utf-8"))


def two_classes(folder: Path, shape: tuple[int, ...]) -> DatasetIndex:
    """The discs with a core of another class, which Bert forgets."""
    index, cases = write_discs(folder, shape, train=3, validation=2), []
    core = ball(shape, tuple(side / 2 for side in shape), 2).numpy()
    for case in index.cases:
        for who, path in case.annotations.items():
            drawn = ball(shape, tuple(side / 2 for side in shape), 0.27 * min(shape)).numpy().astype(int)
            write_array(path.parent, path.name.split(".")[0], drawn + core * (who != "bert"))
        cases.append(replace(case, truth=None))
    classes = (*index.classes, ClassDefinition(name="core", values=(2,)))
    return index.model_copy(update={"classes": classes, "cases": tuple(cases)})


def make(folder: Path, index: DatasetIndex, method: str = "uma-net", **options) -> Made:
    run, config = folder / "run", tiny_config(method)
    run.mkdir()
    made = make_method(index.task, config)
    if method == "uma-net":
        torch.nn.init.normal_(made.uncertainty.out.weight, std=12.0)
    save_model(made, index, config, run)
    (run / "run.toml").write_text(format_config(config))
    header = "step,epoch,loss/total,loss/segmentation,validation/soft_dice,reliability/anna,reliability/bert\n"
    (run / "metrics.csv").write_text(header + "2,0,1.5,1.0,,0.8,0.8\n2,0,,,0.4,,\n4,1,1.2,0.8,0.5,0.9,0.7\n")
    write_index(index, run / "dataset.json")
    model = load_model(run, grading=method == "uma-net")
    build_report(model, index, run, folder / "report.html", command="umanet report run", **options)
    return Made(index, run, folder / "report.html")


KINDS = {
    "2D": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=3, validation=2)),
    "3D": lambda folder: make(folder, write_discs(folder, SHAPES[3], train=2, validation=1)),
    "classes": lambda folder: make(folder, two_classes(folder, SHAPES[3])),
    "anonymous": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=2, validation=1, identified=False)),
    "fused": lambda folder: make(folder, write_discs(folder, SHAPES[2], train=2, validation=1), "majority"),
}


@pytest.fixture(scope="session", params=KINDS)
def made(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="session")
def flat(tmp_path_factory):
    return KINDS["2D"](tmp_path_factory.mktemp("flat"))


def annotations(index):
    return sum(len(case.annotations) for case in index.cases)


def test_every_section_is_there_in_the_order_in_which_people_ask(made):
    page = made.page
    assert page.headings == list(SECTIONS.values())
    assert page.open == []
    anchors = [address[1:] for address in page.addresses() if address.startswith("#")]
    ids = {attrs.get("id") for _, attrs in page.tags}
    assert set(SECTIONS) <= set(anchors) and set(anchors) <= ids


def test_nothing_is_asked_of_anybody_else(made):
    page = made.page
    assert re.findall(r"https?:|//\w+\.\w|url\((?!#)|@import", page.text) == []
    assert {address[:5] for address in page.addresses() if not address.startswith("#")} <= {"data:"}
    policy = [attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs]
    assert policy[0].startswith("default-src 'none'")


def test_every_picture_has_a_text(made):
    pictures = [attrs for tag, attrs in made.page.tags if tag == "img"]
    assert pictures and all(attrs["alt"] for attrs in pictures)
    assert all(attrs["aria-label"] for tag, attrs in made.page.tags if tag == "svg" and attrs.get("class") == "chart")


def test_every_annotation_has_a_card_with_a_reason_or_the_page_says_why_not(made):
    page = made.page
    if made.run.parent.name.startswith("fused"):
        assert page.count("div", "pair") == 0
        assert page.text.count("cannot grade") == 2 and "--method uma-net" in page.text
        return
    assert page.count("div", "pair") == page.count("ul", "why") == annotations(made.index)
    assert page.text.count("<li><b>") >= annotations(made.index)


def test_anonymous_annotators_are_not_judged(made):
    anonymous = not made.index.annotators_are_identified
    assert ("nothing is said about" in made.page.text) == anonymous
    graded = made.page.count("div", "pair") > 0
    assert ("As the network sees them" in made.page.text) == (graded and not anonymous)
    for shown in ("Annotations by annotator", "right where they disagree, as learned", 'data-filter="who"'):
        assert (shown in made.page.text) == ((not anonymous) and (graded or "data-filter" not in shown))


def test_grades_of_a_run_that_never_doubted_are_said_to_mean_nothing(flat, tmp_path):
    text = flat.report.read_text()
    assert text.count("These grades mean nothing.") == 2 and "graded low</span>" not in text
    model = load_model(flat.run, grading=True)
    model.method.said.fill_(10.0)
    model.method.right.fill_(6.0)
    build_report(model, flat.index, flat.run, tmp_path / "doubting.html", most_cases=0)
    text = (tmp_path / "doubting.html").read_text()
    assert "mean nothing" not in text and "least reliable annotator" in text and "graded low</span>" in text


def test_the_slice_is_the_one_where_it_happens(made):
    assert (made.index.spatial_dims == 3) == bool(re.search(r"axial slice \d+ of 8", made.page.text))


def test_the_forgotten_class_is_named(tmp_path_factory):
    text = KINDS["classes"](tmp_path_factory.mktemp("core")).page.text
    assert re.search(r"<li><b>[a-z ]+</b> core: ", text)


def test_names_are_text_and_nothing_else(tmp_path):
    index = write_discs(tmp_path, SHAPES[2], train=2, validation=1)
    cases = tuple(replace(case, patient=NASTY) for case in index.cases)
    named = index.model_copy(update={"name": NASTY, "cases": cases})
    page = make(tmp_path, named).page
    assert "alert(" not in re.sub(r"&lt;script&gt;alert\(&#34;x&#34;\)", "", page.text)
    assert sum(tag == "script" for tag, _ in page.tags) == 1


def test_fewer_pictures_leave_the_tables_whole(flat, tmp_path):
    model = load_model(flat.run, grading=True)
    build_report(model, flat.index, flat.run, tmp_path / "few.html", most_cases=2)
    page = Page((tmp_path / "few.html").read_text())
    assert page.count("div", "pair") == 2
    table = page.text.split('id="all-annotations"')[1].split("</table>")[0]
    assert table.count("<tr>") == annotations(flat.index) + 1


def test_a_case_costs_little(flat, tmp_path):
    """500 cases of six annotations stay under 30 MB: 60 cards, 36 other pictures, and the rows of tables."""
    model = load_model(flat.run, grading=True)
    build_report(model, flat.index, flat.run, tmp_path / "bare.html", most_cases=0)
    bare, whole = (path.stat().st_size for path in (tmp_path / "bare.html", flat.report))
    rows = annotations(flat.index)
    assert bare < 150_000
    assert (whole - bare) / rows * 60 + bare * 500 / len(flat.index.cases) < 30e6
    assert max(map(len, re.findall(r'src="(data:[^"]+)"', flat.report.read_text()))) < 40_000


def test_only_the_split_that_is_asked_for_is_looked_at(flat, tmp_path):
    model = load_model(flat.run, grading=True)
    build_report(model, flat.index, flat.run, tmp_path / "train.html", split="train")
    text = (tmp_path / "train.html").read_text()
    assert "disc0" in text and "disc4" not in text.split("</script>")[0].split('id="record"')[0]
    assert "The network was trained on these cases" in text


def test_another_data_set_is_said_to_be_one(flat, tmp_path):
    (flat.run / "data.sha256").write_text("0" * 64 + "\n")
    build_report(load_model(flat.run, grading=True), flat.index, flat.run, tmp_path / "other.html", most_cases=0)
    (flat.run / "data.sha256").unlink()
    assert "Another data set." in (tmp_path / "other.html").read_text()


def test_progress_ends_where_it_should(flat, tmp_path):
    seen = []
    build_report(
        load_model(flat.run, grading=True), flat.index, flat.run, tmp_path / "new.html", most_cases=0,
        progress=lambda done, total, note: seen.append((done, total, note)),
    )  # fmt: skip
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert {note for _, _, note in seen} >= {"grading", "predicting", "scoring", "drawing"}
    assert all(done <= total for done, total, _ in seen)


def test_the_templates_travel_with_the_package():
    templates = files("umanet.report") / "templates"
    names = {path.name for path in templates.iterdir()}
    assert {"layout.html", "report.html", "agreement.html", "style.css", "page.js"} <= names


def test_agreement_has_a_page_of_its_own(flat, tmp_path):
    pairs = np.array([[1, 0.91, np.nan], [0.91, 1, 0.62], [np.nan, 0.62, 1]])
    agreement = SimpleNamespace(
        annotators=flat.index.annotators, cases=5, identified=True, pairs={"disc": pairs},
        pair_cases=np.full((3, 3), 4), worst_cases=[{"case": "disc1", "class": "disc", "mean_pairwise_dice": 0.5}],
        statistics={"disc": {"fleiss_kappa": 0.8, "krippendorff_alpha": 0.81, "mean_pairwise_dice": 0.77,
                             "ci95": (0.7, 0.8)}},
        per_annotator=[{"annotator": "anna", "class": "disc", "cases": 5, "dice": 0.9, "sensitivity": 0.8,
                        "specificity": None, "volume_ratio": 1.1, "empty": 0}],
    )  # fmt: skip
    write_agreement(agreement, flat.index, tmp_path / "agreement.html")
    page = Page((tmp_path / "agreement.html").read_text())
    assert page.headings == ["Who annotates how"] and page.open == []
    assert ">0.62<" in page.text and "0.700 to 0.800" in page.text and "Fleiss" in page.text


def test_the_command_writes_a_report_from_the_run_alone(flat, tmp_path, capsys):
    assert main(["report", str(flat.run), "-o", str(tmp_path / "r.html"), "--most-cases", "1"]) == 0
    assert "needs no other file" in capsys.readouterr().err
    assert "umanet report" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run, out: run.joinpath("model.json").unlink(), "No model.json found in"),
        (lambda run, out: run.joinpath("dataset.json").unlink(), "Name it with --dataset"),
        (lambda run, out: out.write_text("mine"), "exists already, a new file expected"),
    ],
    ids=["no run", "no data set", "output exists"],
)
def test_bad_input_is_a_line(flat, tmp_path, capsys, change, said):
    run, out = tmp_path / "run", tmp_path / "report.html"
    shutil.copytree(flat.run, run)
    change(run, out)
    assert main(["report", str(run), "-o", str(out)]) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not out.exists() or out.read_text() == "mine"


def test_a_report_is_not_overwritten(flat):
    with pytest.raises(OutputError, match="exists already"):
        build_report(load_model(flat.run), flat.index, flat.run, flat.report)


PROBE = """<script>window.addEventListener("load", () => {
  const failed = [...document.images].filter((image) => !(image.complete && image.naturalWidth)).length;
  document.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
  document.body.dataset.seen = `${document.images.length} images, ${failed} failed, `
    + `${performance.getEntriesByType("resource").filter((one) => !one.name.startsWith("data:")).length} fetched, `
    + `focus on ${document.activeElement.className}`;
});</script>"""


def test_a_browser_shows_every_picture_and_fetches_nothing(flat, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip("No Chromium here.")
    text = flat.report.read_text(encoding="utf-8")
    (tmp_path / "probed.html").write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=20000", "--dump-dom", (tmp_path / "probed.html").as_uri()],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    seen = re.search(r'data-seen="([^"]+)"', done.stdout)
    assert seen is not None, done.stderr[-500:]
    number = sum(tag == "img" for tag, _ in flat.page.tags)
    assert seen[1] == f"{number} images, 0 failed, 0 fetched, focus on stop"
