"""Pages as a browser shows them: every section, every picture, every key, and nothing asked of anybody."""

import re
import shutil
import subprocess

import pytest

from umanet.agreement import measure_agreement
from umanet.report import write_agreement
from umanet.report.build import AGREEMENT_SECTIONS, SECTIONS

# Stands before anything that could be fetched, and looks when all has been.
PROBE = """<script>
const refused = [];
document.addEventListener("securitypolicyviolation", (event) => refused.push(event.blockedURI));
window.addEventListener("load", () => {
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const seen = document.body.dataset;
  const failed = [...document.images].filter((image) => !(image.complete && image.naturalWidth));
  const fetched = performance.getEntriesByType("resource").filter((one) => !one.name.startsWith("data:"));
  seen.images = `${document.images.length} shown, ${failed.length} failed`;
  seen.asked = `${fetched.length} fetched, ${refused.length} refused`;
  const shown = [...document.querySelectorAll("section h2")].filter((heading) => heading.offsetHeight > 0);
  seen.sections = shown.map((heading) => heading.textContent).join("|");
  seen.charts = [...document.querySelectorAll("svg.chart")].every((chart) => chart.getBoundingClientRect().width > 99);
  seen.wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  press("n");
  seen.heading = document.activeElement.textContent;
  press("n");
  press("p");
  seen.again = document.activeElement.textContent;
  press("j");
  seen.card = document.activeElement.className;
  press("o");
  seen.outlines = document.body.className;
  const stops = [...document.querySelectorAll(".stop")].filter((one) => one.offsetParent);
  stops[2].focus();
  const at = () => stops.indexOf(document.activeElement);
  seen.walk = ["ArrowRight", "ArrowLeft", "j", "k"].map((key) => (press(key), at())).join(" ");
  // Whoever has scrolled away from the focus goes on from what is in view.
  stops[1].focus();
  document.querySelector("section:last-of-type h2").scrollIntoView({ behavior: "instant" });
  press("j");
  seen.scrolled = at() > 2;
  const reason = document.querySelector('[data-filter="kinds"]');
  if (reason) {
    const option = reason.options[reason.options.length - 1];
    reason.value = option.value;
    reason.dispatchEvent(new Event("change"));
    const left = [...document.querySelectorAll("#doubt-cards .card")].filter((card) => card.offsetParent);
    seen.filtered = `${option.textContent} = ${left.length}`;
    const fits = left.every((card) => card.dataset.kinds.split("|").includes(option.value));
    seen.said = `${document.querySelector(".filters output").textContent}, ${fits}`;
    reason.value = "";
    reason.dispatchEvent(new Event("change"));
  }
  const sorted = document.querySelector(".sortable thead th");
  const field = document.querySelector("[data-find]");
  if (field) {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    sorted.click();
    field.value = "no such case";
    field.dispatchEvent(new Event("input"));
    seen.sorted = sorted.getAttribute("aria-sort");
    seen.found = [...document.getElementById(field.dataset.find).tBodies[0].rows].filter((row) => !row.hidden).length;
  }
});
</script>"""


def browser():
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((found for name in names if (found := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"No browser to look with: none of {', '.join(names)} found on the PATH.")
    return found


def browse(text, folder, width=1280):
    """What the probe saw of a page, by name."""
    page = folder / "probed.html"
    page.write_text(text.replace("<head>", "<head>" + PROBE, 1), encoding="utf-8")
    done = subprocess.run(
        [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}",
         f"--window-size={width},900", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    body = re.search(r"<body([^>]*)>", done.stdout)
    assert body is not None, done.stderr[-500:]
    return dict(re.findall(r'data-(\w+)="([^"]*)"', body[1]))


@pytest.mark.slow
def test_a_browser_shows_every_section_and_picture_and_fetches_nothing(made, tmp_path):
    seen = browse(made.report.read_text(encoding="utf-8"), tmp_path)
    number = sum(tag == "img" for tag, _ in made.page.tags)
    assert (seen["images"], seen["asked"]) == (f"{number} shown, 0 failed", "0 fetched, 0 refused")
    assert seen["sections"].split("|") == list(SECTIONS.values())
    assert seen["charts"] == "true" and seen["wide"] == "0"
    assert seen["heading"] in SECTIONS.values() and "stop" in seen["card"] and seen["outlines"] == "no-outlines"
    assert (seen["sorted"], seen["found"]) == ("ascending", "0")
    assert seen["again"] == seen["heading"] and (seen["walk"], seen["scrolled"]) == ("3 2 3 2", "true")
    if "filtered" in seen:
        count = re.fullmatch(r".+ \((\d+)\) = (\d+)", seen["filtered"])
        assert count is not None and count[1] == count[2] and int(count[1])
        assert re.fullmatch(rf"{count[1]} of \d+ shown, true", seen["said"])


@pytest.mark.slow
@pytest.mark.parametrize("identified", [True, False])
def test_a_browser_shows_the_page_of_the_annotators(flat, tmp_path, identified):
    index = flat.index.model_copy(update={"annotators_are_identified": identified})
    write_agreement(measure_agreement(index), index, tmp_path / "agreement.html")
    seen = browse((tmp_path / "agreement.html").read_text(encoding="utf-8"), tmp_path, width=600)
    assert (seen["images"], seen["asked"]) == ("5 shown, 0 failed", "0 fetched, 0 refused")
    assert seen["sections"].split("|") == list(AGREEMENT_SECTIONS.values())
    assert seen["charts"] == "true" and seen["wide"] == "0" and seen["found"] == "0"


@pytest.mark.slow
def test_what_a_page_would_fetch_or_fail_to_show_is_seen(flat, tmp_path):
    text = flat.report.read_text(encoding="utf-8")
    worse = (
        '<img src="https://example.invalid/a.png" alt=""><link rel="stylesheet" href="https://example.invalid/b.css">'
    )
    seen = browse(text.replace("</main>", worse + "</main>"), tmp_path)
    assert seen["images"].endswith("1 failed") and seen["asked"].endswith("2 refused")
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</main>", worse + "</main>")
    assert not browse(free, tmp_path)["asked"].startswith("0 fetched")


@pytest.mark.slow
@pytest.mark.parametrize("room", [120, 150, 180])
def test_no_printed_page_ends_with_a_bare_heading(flat, tmp_path, room):
    if shutil.which("pdftotext") is None:
        pytest.skip("No pdftotext to look into a PDF with.")
    text = flat.report.read_text(encoding="utf-8")
    before = f'<div style="height: {room}mm; break-before: page"></div><section id="sure"'
    page, printed = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(text.replace('<section id="sure"', before, 1), encoding="utf-8")
    command = [browser(), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
               "--no-pdf-header-footer", f"--print-to-pdf={printed}", page.as_uri()]  # fmt: skip
    subprocess.run(command, capture_output=True, timeout=300, check=True)
    done = subprocess.run(["pdftotext", "-layout", str(printed), "-"], capture_output=True, text=True, check=True)
    pages = [one.strip().splitlines() for one in done.stdout.split("\f") if one.strip()]
    assert len(pages) > 3 and not {lines[-1].strip() for lines in pages} & set(SECTIONS.values())
