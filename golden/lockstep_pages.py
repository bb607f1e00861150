"""Reports as pages: HTML for a browser, Markdown for an issue, JUnit XML for a CI. Each is made from a report's JSON alone."""

import json
import math
import os
import unicodedata
from xml.etree import ElementTree

import jinja2

import lockstep_charts as charts

TEMPLATES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "templates")
MARKDOWN_BYTES = 64_000  # GitHub takes 65,536 characters in a comment


def page(text, format):
    """A document (JSON text) as a page. format: "html", "md" or "junit"."""
    document = json.loads(text)
    kind = document["format"].removeprefix("lockstep-")
    if format == "junit":
        return junit(kind, document)
    if format == "md":
        return markdown(kind, document)
    return render(f"{kind}.html.jinja", VIEWS[kind](document))


def render(name, view):
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=".html." in name,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, visible=visible, place=place, cell=cell, code=code)
    return environment.get_template(name).render(**view)


# Texts


def is_finite(value):
    return isinstance(value, (int, float)) and math.isfinite(value)


def size_of(value):
    """A number for sorting and drawing: the text of a nonfinite one is infinity, none is -1."""
    return -1.0 if value is None else abs(value) if is_finite(value) else math.inf


def number(value, digits=4):
    """At most `digits` significant digits; "-" for none, the text of a nonfinite one."""
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if is_finite(value) else str(value)


def visible(text, newline="⏎"):
    """Every character that does not print is shown by its code: a stray escape of a file name, say."""
    shown = []
    for character in str(text):
        hidden = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        shown.append(newline if character == "\n" else f"\\u{ord(character):04x}" if hidden else character)
    return "".join(shown)


def place(entry):
    """layer 17 ffn_down"""
    return entry["stage"] if entry["layer"] is None else f"layer {entry['layer']} {entry['stage']}"


def cell(text):
    """Text inside a table of Markdown: nothing in it is markup."""
    for character in "\\`*_{}[]<>|#~":
        text = text.replace(character, "\\" + character)
    return visible(text).replace("\n", " ")


def code(text):
    """A code span of Markdown."""
    text = visible(text).replace("`", "'").replace("|", "\\|")
    return f"`{text}`"


# The view of a report: what its templates read


def stage_table(report):
    """One entry a place, in plan order: {layer, stage, id, of: {source: entry}, failed}."""
    introduced = {(entry["source"], entry["layer"], entry["stage"]) for entry in report["introduced"]}
    table = {}
    for entry in report["stages"]:
        key = (entry["layer"], entry["stage"])
        line = table.setdefault(key, {"layer": key[0], "stage": key[1], "id": f"s{len(table)}", "of": {}, "failed": False})
        line["of"][entry["source"]] = entry
        entry["introduced"] = (entry["source"], *key) in introduced
        line["failed"] |= entry["introduced"]
    return list(table.values())


def growth(report):
    """Of layer_out (or embed and the other stages of the residual stream): [{layer, of: {source: entry}}]."""
    return [line for line in stage_table(report) if line["stage"] == "layer_out"]


def headline(report):
    """The verdict in one line: source, place, token."""
    first = report["first_divergence"]
    if first:
        return f"{first['source']}, {place(first)}, token {first['token']}"
    if report["verdict"] == "diverged":
        return "at a place that is not known"
    coverage = report["coverage"]
    return f"{coverage['compared']} of {coverage['expected']} stages judged"


def causes(report):
    """The diagnoses: of the first divergence, then one list of each further place."""
    first, further = [], []
    at = report["first_divergence"]
    for diagnosis in report["diagnosis"]:
        here = at and (diagnosis["layer"], diagnosis["stage"]) == (at["layer"], at["stage"])
        (first if here or not first else further).append(diagnosis)
    return first, further


def report_view(report):
    table = stage_table(report)
    sources = [source["source"] for source in report["sources"]]
    first, further = causes(report)
    details = report.get("details") or {"tokens": [], "failing": None, "next_tokens": []}
    return {
        "report": report,
        "first": report["first_divergence"],
        "headline": headline(report),
        "sources": sources,
        "accused": accused_of(report),
        "table": table,
        "failures": [line for line in table if line["failed"]],
        "causes": first,
        "further": further,
        "details": details,
        "growth": growth(report),
        "charts": charts,
        "has_golden": "golden" in sources and len(sources) > 1,
    }


def accused_of(report):
    """The source whose heat map is shown first."""
    first, sources = report["first_divergence"], [source["source"] for source in report["sources"]]
    return first["source"] if first and first["source"] in sources else sources[0]


def compare_view(document):
    words = {"identical": "bit-identical", "different": "different", "undecided": "undecided: no row is in both"}[document["verdict"]]
    return {"document": document, "words": words, "differing": [entry for entry in document["stages"] if not entry["identical"]], "charts": charts}


def batch_view(document):
    cases = [case_view(entry) for entry in document["cases"]]
    unexpected = [entry for entry in cases if not entry["as_expected"]]
    counts = ", ".join(f"{n} {name}" for name, n in document["counts"].items() if n)
    return {
        "document": document,
        "cases": cases,
        "unexpected": unexpected,
        "expected": [entry for entry in cases if entry["as_expected"]],
        "summary": f"{len(cases)} cases: {counts}; {len(unexpected)} not as expected",
    }


def case_view(entry):
    """A case with where it diverges, the cause, and where there are few of them, its heat map."""
    report = entry.get("report")
    first = report and report["first_divergence"]
    causes = report["diagnosis"][:1] if report else []
    heat = charts.heat_map(stage_table(report), accused_of(report), "ratio") if first else None
    return entry | {
        "place": headline(report) if first else "",
        "cause": f"{causes[0]['fault']} ({causes[0]['how']})" if first and causes else "",
        "heat": heat,
    }


def difference(pair):
    """How far a run is from the first, in words."""
    if not pair:
        return ""
    if pair["identical"]:
        return "bit-identical"
    where = f"{number(pair['relative_rms'], 2)}, {place(pair)}" if pair["stage"] else "no row is in both"
    return where + (", not identical" if pair["must_be_identical"] else "") + (", sees the padding" if pair["sees_padding"] else "")


def invariants_view(document):
    words = {"parity": "they agree", "diverged": "they disagree", "undecided": "undecided"}[document["verdict"]]
    runs = [case_view(run | {"status": run["report"]["verdict"]}) | {"difference": difference(run["from_first"])} for run in document["runs"]]
    return {"document": document, "words": words, "runs": runs}


def kernel_line(entry):
    level, apart = entry.get("level") or {}, entry.get("apart") or {}
    share = apart.get("read_bandwidth_share")
    return {
        "name": entry["name"],
        "level_us": level.get("median_us"),
        "apart_us": apart.get("median_us"),
        "share": share * 100 if share is not None else None,
        "ratio": entry.get("ratio"),
        "wrong": entry.get("ok") is False,
    }


def bench_view(document):
    operations = document.get("decode_operations") or []
    bars = [(entry["operation"], entry["measured_us"], "b0", f"{entry['operation']}: {number(entry['measured_us'])} µs") for entry in operations]
    return {"document": document, "kernels": [kernel_line(entry) for entry in document.get("kernels") or []], "operation_bars": bars, "charts": charts}


VIEWS = {"report": report_view, "compare": compare_view, "batch": batch_view, "invariants": invariants_view, "bench": bench_view}


# Markdown


def markdown(kind, document):
    """Fewer rows of its longest table until the page is short enough."""
    rows = 400
    view = VIEWS[kind](document)
    while True:
        text = render(f"{kind}.md.jinja", view | {"most_rows": rows})
        if len(text.encode()) < MARKDOWN_BYTES or rows == 0:
            return text
        rows //= 2


# JUnit


def suite(name, cases):
    """cases: (class, name, outcome, message); outcome: None, "failure", "error", "skipped"."""
    element = ElementTree.Element("testsuite", name=name, tests=str(len(cases)))
    for outcome in ("failure", "error", "skipped"):
        plural = {"failure": "failures", "error": "errors"}.get(outcome, outcome)
        element.set(plural, str(sum(case[2] == outcome for case in cases)))
    for class_name, case_name, outcome, message in cases:
        case = ElementTree.SubElement(element, "testcase", classname=class_name, name=case_name)
        if outcome:
            ElementTree.SubElement(case, outcome, message=message).text = message
    return element


def class_of(source, layer):
    return source if layer is None else f"{source}.layer_{layer:02d}"


def stage_cases(report, source):
    """A case for each stage of a source."""
    coverage = report["coverage"]
    lacks = {
        (lack["layer"], lack["stage"]): why
        for why, name in (("not recorded", "missing"), ("an input that is needed is not recorded", "unaudited"))
        for lack in coverage[name]
        if lack["source"] == source
    }
    cases = []
    for line in stage_table(report):
        key, entry = (line["layer"], line["stage"]), line["of"].get(source)
        if key in lacks or entry is None:
            continue
        outcome, message = None, None
        if entry["introduced"]:
            outcome = "failure"
            message = f"{number(entry['max_ratio'])} times the bound, off by {number(entry['max_abs_error'])}"
        elif entry["max_ratio"] is None:
            outcome, message = "skipped", "no row could be judged"
        cases.append((class_of(source, key[0]), key[1], outcome, message))
    for (layer, stage), why in lacks.items():
        cases.append((class_of(source, layer), stage, "skipped", why))
    return cases


def report_suites(report, prefix=""):
    outcome = {"parity": None, "diverged": "failure", "undecided": "error"}[report["verdict"]]
    message = f"{report['verdict']}: {headline(report)}"
    texts = [message] + [f"{d['fault']} ({d['how']}): {d['text']}" for d in report["diagnosis"][:1]]
    suites = [suite(f"{prefix}verdict", [("verdict", "parity", outcome, "\n".join(texts))])]
    for source in report["sources"]:
        suites.append(suite(prefix + source["source"], stage_cases(report, source["source"])))
    return suites


def compare_suites(document):
    cases = []
    for entry in document["stages"]:
        outcome, message = None, None
        if entry["in"] != "both":
            outcome, message = "skipped", f"only in {document[entry['in']]}"
        elif not entry["identical"]:
            outcome, message = "failure", f"differs by up to {number(entry['max_error'])}, token {entry['token']}, dim {entry['dim']}"
        cases.append((class_of("compare", entry["layer"]), entry["stage"], outcome, message))
    outcome = {"identical": None, "different": "failure", "undecided": "error"}[document["verdict"]]
    return [suite("verdict", [("verdict", "identical", outcome, document["verdict"])]), suite("compare", cases)]


def batch_suites(document):
    """A suite for each case, and for each of its sources."""
    suites = []
    for entry in document["cases"]:
        outcome = None if entry["as_expected"] else "error" if "error" in entry else "failure"
        words = entry.get("error") or f"{entry['status']}: {headline(entry['report'])}"
        suites.append(suite(entry["name"], [(entry["name"], "as expected", outcome, words)]))
        if "report" in entry and (entry["status"] == "parity" or not entry["as_expected"]):  # an expected divergence is no failure
            suites += report_suites(entry["report"], f"{entry['name']}: ")
    return suites


def invariants_suites(document):
    suites = []
    for run in document["runs"]:
        pair = run["from_first"]
        moved = bool(pair and pair["must_be_identical"] and not pair["identical"])
        suites.append(suite(run["name"], [(run["name"], "repeats", "failure" if moved else None, "not bit-identical")]))
        suites += report_suites(run["report"], f"{run['name']}: ")
    return suites


SUITES = {"report": report_suites, "compare": compare_suites, "batch": batch_suites, "invariants": invariants_suites}


def junit(kind, document):
    root = ElementTree.Element("testsuites", name="lockstep")
    root.extend(SUITES[kind](document))
    for element in root.iter():
        for key, value in element.attrib.items():
            element.set(key, visible(value, "\n"))
        if element.text:
            element.text = visible(element.text, "\n")
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=False) + "\n"
