"""Charts of pages, as inline SVG: heat maps, lines, bars. Colours are classes, which the page's style sheet gives them."""

import math

from markupsafe import Markup, escape

LABEL = 112  # pixels left of a heat map, for the names of stages
CELL_HEIGHT = 15


def finite(value):
    """The number, infinity for the text of a nonfinite one, None for none."""
    if value is None or isinstance(value, (int, float)):
        return value
    return math.inf


def grade(value, limits):
    """How many of the limits a value passes; None: there is no value."""
    value = finite(value)
    return None if value is None else sum(value > limit for limit in limits)


RATIO_LIMITS = (0.01, 0.1, 0.5, 1, 10, 1000)
DIFFERENCE_LIMITS = (0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


def ratio_grade(entry):
    return "r", grade(entry["max_ratio"], RATIO_LIMITS), f"{short(entry['max_ratio'])} times its bound"


def difference_grade(entry):
    return "d", grade(entry["relative_rms"], DIFFERENCE_LIMITS), f"relative rms difference {short(entry['relative_rms'])}"


def short(value):
    return "not judged" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else value


def tag(name, content="", **attributes):
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    return f"<{name}{pairs}>{content}</{name}>"


def svg(width, height, content, label):
    return Markup(tag("svg", content, viewBox=f"0 0 {width:g} {height:g}", width=f"{width:g}", role="img", aria_label=label))


def text(x, y, content, **attributes):
    return tag("text", escape(content), x=f"{x:.5g}", y=f"{y:.5g}", **attributes)


# Heat maps


def heat_cell(line, entry, grading, x, y, width):
    letter, level, words = grading(entry)
    where = line["stage"] if line["layer"] is None else f"layer {line['layer']} {line['stage']}"
    classes = f"{letter}{'n' if level is None else level}" + (" i" if entry["introduced"] else "")
    title = tag("title", escape(f"{where}: {words}"))
    box = tag("rect", title, x=f"{x:g}", y=f"{y:g}", width=f"{width - 1:g}", height=CELL_HEIGHT - 1, class_=classes)
    return tag("a", box, href=f"#{line['id']}")


def heat_map(table, source, what):
    """Stage by layer; what: "ratio" or "difference". A cell leads to its line of the table of stages."""
    grading = {"ratio": ratio_grade, "difference": difference_grade}[what]
    lines = [line for line in table if source in line["of"]]
    stages = list(dict.fromkeys(line["stage"] for line in lines if line["layer"] is not None))
    outside = [line for line in lines if line["layer"] is None]
    n_layers = max((line["layer"] for line in lines if line["layer"] is not None), default=-1) + 1
    width = min(24, max(9, 640 // max(1, n_layers)))
    parts = [text(LABEL + layer * width + width / 2 - 0.5, 10, layer, class_="tick m") for layer in range(0, n_layers, 1 if width > 15 else 5)]
    top = 14
    for line in lines:
        if line["layer"] is not None:
            row = stages.index(line["stage"])
            parts.append(heat_cell(line, line["of"][source], grading, LABEL + line["layer"] * width, top + row * CELL_HEIGHT, width))
    for row, stage in enumerate(stages):
        parts.append(text(LABEL - 6, top + row * CELL_HEIGHT + 11, stage, class_="tick e"))
    y = top + len(stages) * CELL_HEIGHT + 6
    for index, line in enumerate(outside):
        parts.append(heat_cell(line, line["of"][source], grading, LABEL, y + index * CELL_HEIGHT, width))
        parts.append(text(LABEL - 6, y + index * CELL_HEIGHT + 11, line["stage"], class_="tick e"))
    return svg(LABEL + max(n_layers, 1) * width + 2, y + len(outside) * CELL_HEIGHT + 2, "".join(parts), f"{what} of {source}, stage by layer")


def legend(what):
    """What the colours of a heat map mean: [(class, words)]."""
    letter, limits = {"ratio": ("r", RATIO_LIMITS), "difference": ("d", DIFFERENCE_LIMITS)}[what]
    entries = [(f"{letter}{level}", f"≤ {limit:g}") for level, limit in enumerate(limits)]
    return entries + [(f"{letter}{len(limits)}", f"> {limits[-1]:g}"), (f"{letter}n", "not judged")]


# Lines


class Scale:
    """Maps values to pixels; log: by their logarithm, where values of 0 and below lie at the lower end."""

    def __init__(self, values, start, end, log=False):
        self.log, self.start, self.end = log, start, end
        finite_values = [value for value in values if math.isfinite(value) and (value > 0 or not log)]
        low, high = (min(finite_values), max(finite_values)) if finite_values else (0.1, 1) if log else (0, 1)
        self.low, self.high = self.place(low), self.place(high)
        if self.high - self.low < 1e-12 * max(1, abs(self.high)):
            self.low, self.high = self.low - 0.5, self.high + 0.5

    def place(self, value):
        return math.log10(max(value, 1e-300)) if self.log else value

    def __call__(self, value):
        share = (min(max(self.place(value), self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        if self.log:
            first, last = math.ceil(self.low), math.floor(self.high)
            decades = [10.0**e for e in range(first, last + 1, max(1, (last - first) // 4))]
            return decades if len(decades) > 1 else [10**self.low, *decades, 10**self.high]
        return [self.low, (self.low + self.high) / 2, self.high]


def line_chart(series, log=False, mark=None, x_name="", label=""):
    """series: [(name, [(x, y)])], at most four; mark: an x to point out. A value that is not finite is a gap."""
    width, height, left, bottom = 520, 210, 64, 34
    points = [(x, finite(y)) for _, line in series for x, y in line if y is not None]
    if not points:
        return Markup("")
    across = Scale([x for x, _ in points], left, width - 12)
    up = Scale([y for _, y in points], height - bottom, 10, log)
    parts = []
    for tick in up.ticks():
        parts.append(tag("line", x1=left, x2=width - 12, y1=f"{up(tick):.1f}", y2=f"{up(tick):.1f}", class_="grid"))
        parts.append(text(left - 6, up(tick) + 4, f"{tick:.3g}", class_="tick e"))
    for tick in sorted({points[0][0], points[-1][0], *([mark] if mark is not None else [])}):
        parts.append(text(across(tick), height - bottom + 16, tick, class_="tick m"))
    if mark is not None:
        parts.append(tag("line", x1=f"{across(mark):.1f}", x2=f"{across(mark):.1f}", y1=10, y2=height - bottom, class_="mark"))
    parts.append(text((left + width) / 2, height - 4, x_name, class_="tick m"))
    for index, (name, line) in enumerate(series):
        for piece in pieces(line):
            path = "".join(f"{'L' if i else 'M'}{across(x):.1f} {up(y):.1f}" for i, (x, y) in enumerate(piece))
            parts.append(tag("path", tag("title", escape(name)), d=path, class_=f"line {colour(name, index)}"))
            if len(line) <= 64:
                parts += [tag("circle", cx=f"{across(x):.1f}", cy=f"{up(y):.1f}", r=2, class_=f"dot {colour(name, index)}") for x, y in piece]
    return svg(width, height, "".join(parts), label)


def pieces(line):
    """The runs of a line's finite values."""
    piece = []
    for x, y in line:
        y = finite(y)
        if y is not None and math.isfinite(y):
            piece.append((x, y))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def colour(name, index):
    """A source has its colour wherever it is drawn."""
    names = {"engine": "k0", "trace": "k0", "reference": "k1", "golden": "k2", "actual": "k0", "expected": "k1"}
    return names.get(name, f"k{index % 4}")


def growth_chart(growth, sources, key, label):
    series = [(source, [(line["layer"], line["of"][source][key]) for line in growth if source in line["of"]]) for source in sources]
    return line_chart([entry for entry in series if entry[1]], log=True, x_name="layer", label=label)


def values_chart(values):
    """Expected and actual values around the failing dim."""
    dims = range(values["first_dim"], values["first_dim"] + len(values["expected"]))
    series = [("expected", list(zip(dims, values["expected"]))), ("actual", list(zip(dims, values["actual"])))]
    return line_chart(series, mark=values["dim"], x_name="dim", label=f"values around dim {values['dim']}")


# Bars


def bar_chart(bars, label, log=False):
    """bars: [(name, value, class, title)]; from the bottom up."""
    if not bars:
        return Markup("")
    step = min(36, max(5, 500 // len(bars)))
    height, base = 150, 126
    sizes = [min(finite(value) or 0, 1e30) for _, value, _, _ in bars]
    top = max(sizes) or 1
    parts = []
    for index, ((name, _, classes, title), size) in enumerate(zip(bars, sizes)):
        share = size / top if not log else math.log10(1 + size) / math.log10(1 + top)
        bar = max(1.0 if size > 0 else 0.0, share * (base - 14))
        box = tag("rect", tag("title", escape(title)), x=index * step, y=f"{base - bar:.1f}", width=max(2, step - 2), height=f"{bar:.1f}", class_=classes)
        parts.append(box)
        if step > 24 or index % max(1, math.ceil(24 / step)) == 0:
            parts.append(text(index * step + step / 2 - 1, base + 14, name, class_="tick m"))
    return svg(len(bars) * step + 4, height, "".join(parts), label)


def decade_chart(failing):
    """How many values miss their bound by how much."""
    first, counts = failing["first_decade"], failing["errors_by_decade"]
    bars = []
    for index, count in enumerate(counts):
        low, high = first + index - 1, first + index
        name = f"<1e{first}" if index == 0 else f"1e{low}"
        words = f"below 1e{first} times the bound" if index == 0 else f"1e{low} to 1e{high} times the bound"
        bars.append((name, count, "b1" if high > 0 else "b0", f"{count} values {words}"))
    return bar_chart(bars, "values by the ratio of their error to its bound", log=True)


def rows_chart(rows):
    """The worst ratio of each row."""
    bars = [
        (row["token"], row["ratio"] or 0, "b1" if (finite(row["ratio"]) or 0) > 1 else "b0", f"token {row['token']}: {short(row['ratio'])} times its bound")
        for row in rows
    ]
    return bar_chart(bars, "worst ratio of each row", log=True)
