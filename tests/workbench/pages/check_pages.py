"""Checks --html, --md and --junit: check_pages.py PROGRAM [--twin]

Runs diff, audit, compare and batch, and reads their pages as a browser's parser, GitHub and a CI would. A stranger's file name
never becomes markup. The twin's HTML has one name unescaped: the check must fail.
"""
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import junitparser

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "golden"))

import lockstep_pages  # noqa: E402

MODEL, GOLDEN = ROOT / "golden/tiny-gemma3", ROOT / "golden/tiny-gemma3.h5"
HOSTILE = "a<img src=x>&\"'|`*_.h5"
VOID = {"meta", "link", "br", "input", "img"}


def expect(true, what):
    if not true:
        sys.exit(what)


class Page(html.parser.HTMLParser):
    """Counts tags, and holds that each is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.count, self.words, self.links, self.ids = [], {}, "", [], set()
        self.feed(text)
        expect(not self.open, f"not closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        pairs = dict(attributes)
        if tag == "a":
            self.links.append(pairs["href"])
        if "id" in pairs:
            self.ids.add(pairs["id"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        expect(self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>")
        self.open.pop()

    def handle_data(self, data):
        self.words += data


def run(program, *arguments, status, summary=None):
    environment = {key: value for key, value in os.environ.items() if key != "GITHUB_STEP_SUMMARY"}
    if summary:
        environment["GITHUB_STEP_SUMMARY"] = str(summary)
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment)
    expect(done.returncode == status, f"{arguments}: status {done.returncode}, expected {status}: {done.stderr}")
    return done.stdout


def check_page(text):
    page = Page(text)
    expect("img" not in page.count, "a file's name became markup")
    expect("http" not in "".join(page.links), "the page needs a network")
    missing = [link for link in page.links if link.startswith("#") and link[1:] not in page.ids]
    expect(not missing, f"links lead nowhere: {missing[:3]}")
    expect(len(text) < 1_000_000, f"the page has {len(text)} bytes, expected less than 1 MB")
    return page


def pages_of(program, folder, *arguments, status):
    """Runs with all pages; returns the HTML as text, the Markdown and the JUnit suites."""
    html_file, md, junit = folder / "page.html", folder / "page.md", folder / "junit.xml"
    run(program, *arguments, "--html", html_file, "--md", md, "--junit", junit, status=status)
    text = md.read_text()
    expect(len(text.encode()) < 65536, "the Markdown is too long for an issue")
    return html_file.read_text(), text, list(junitparser.JUnitXml.fromfile(str(junit)))


def cases_of(suites, kind):
    return [case for suite in suites for case in suite if any(isinstance(result, kind) for result in case.result)]


def check_diff(program, folder, twin):
    golden = folder / HOSTILE
    shutil.copy(GOLDEN, golden)
    fault = ["diff", MODEL, "--golden", golden, "--fault", "residual-dropped@1"]
    page, md, suites = pages_of(program, folder, *fault, status=1)
    if twin:
        page = page.replace("a&lt;img src=x&gt;", "a<img src=x>", 1)
    read = check_page(page)
    for word in ["diverged: engine, layer 1 layer_out, token 0", "residual-dropped", "add.comp", "118 of 118", "sha256", HOSTILE]:
        expect(word in " ".join(read.words.split()) or word in read.words, f"the page lacks {word}")
    expect(read.count["svg"] > 6 and read.count["rect"] > 500, "the page lacks its charts")
    expect("residual-dropped" in md, "the Markdown lacks the cause")
    expect("<img" not in re.sub(r"`[^`]*`|\\<", "", md), "a file's name became markup in Markdown")
    failures = cases_of(suites, junitparser.Failure)
    places = sorted((case.classname, case.name) for case in failures)
    expect(places == [("engine.layer_01", "layer_out"), ("verdict", "parity")], f"JUnit: failures at {places}")
    expect(sum(len(list(suite)) for suite in suites) == 3 * 118 + 1, "JUnit: a case is missing")
    page, md, suites = pages_of(program, folder, "diff", MODEL, "--golden", GOLDEN, status=0)
    expect("parity" in check_page(page).words and "lockstep: parity" in md, "parity is not said")
    expect(not cases_of(suites, junitparser.Failure), "JUnit: a healthy run fails")


def check_others(program, folder):
    trace, other = folder / "t.h5", folder / "u.h5"
    run(program, "trace", MODEL, "--ids", "1,2,3", "--stages", "layer_out,final_norm", "-o", trace, status=0)
    run(program, "trace", MODEL, "--ids", "1,2,3", "--fault", "embed-scale-missing", "-o", other, status=0)
    page, _, suites = pages_of(program, folder, "audit", MODEL, other, status=1)
    expect("embed-scale-missing" in check_page(page).words, "audit: the cause is missing")
    page, md, suites = pages_of(program, folder, "compare", trace, other, status=1)
    check_page(page)
    expect(cases_of(suites, junitparser.Failure) and cases_of(suites, junitparser.Skipped), "compare: JUnit lacks cases")
    expect("| layer 0 layer\\_out |" in md, "compare: the Markdown lacks its table")


def check_summary(program, folder):
    """Where GitHub shows a summary, each command adds to it, and says nothing else of it."""
    summary = folder / "summary.md"
    for _ in range(2):
        run(program, "diff", MODEL, "--golden", GOLDEN, status=0, summary=summary)
    expect(summary.read_text().count("## lockstep: parity") == 2, "the job's summary was not added to")
    run(program, "diff", MODEL, "--golden", GOLDEN, status=0, summary=folder / "no/such/folder")


def grown(report, layers):
    """The report of a model with more layers."""
    stages = [entry for entry in report["stages"] if entry["layer"] in (None, 0)]
    grown_stages = [entry for entry in stages if entry["layer"] is None]
    for layer in range(layers):
        grown_stages += [entry | {"layer": layer} for entry in stages if entry["layer"] == 0]
    return report | {"stages": grown_stages}


def check_sizes(program, folder):
    """26 layers' page is below 1 MB; Markdown stays below 64 KB however much fails."""
    json_file = folder / "r.json"
    run(program, "diff", MODEL, "--golden", GOLDEN, "--fault", "norm-no-offset", "--json", json_file, "--md", folder / "x.md", status=1)
    report = grown(json.loads(json_file.read_text()), 26)
    check_page(lockstep_pages.page(json.dumps(report), "html"))
    report["introduced"] = report["introduced"] * 3000
    report["diagnosis"] = report["diagnosis"] * 300
    expect(len(lockstep_pages.page(json.dumps(report), "md").encode()) < 65536, "the Markdown grows without end")


def main():
    program, twin = sys.argv[1], "--twin" in sys.argv
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        check_diff(program, folder, twin)
        check_others(program, folder)
        check_summary(program, folder)
        check_sizes(program, folder)


if __name__ == "__main__":
    if "--twin" not in sys.argv:
        main()
    else:
        try:
            main()
        except SystemExit as failed:
            expect("markup" in str(failed), f"the twin failed for another reason: {failed}")
        else:
            sys.exit("the twin passed")
