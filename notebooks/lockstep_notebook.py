"""What the notebooks share: running lockstep, reading reports and traces, and plots.

The program computes the verdict, not the notebooks. A stage is (layer, stage); layer is None outside the layers, as in the
report.
"""

import io
import json
import math
import struct
import subprocess
from pathlib import Path

import h5py
import matplotlib
import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.patches import Rectangle
from PIL import Image

# Okabe and Ito's colours, which colour-blind people can tell apart. Lines also differ by their markers.
ENGINE, REFERENCE, GOLDEN, FAULTY = "#0072B2", "#009E73", "#E69F00", "#D55E00"
COLOURS = {"engine": ENGINE, "reference": REFERENCE, "golden": GOLDEN}
MARKERS = {"engine": "o", "reference": "s", "golden": "^"}

# Ranges of the colour scales. Values outside are drawn with the colour of the nearest end.
RATIO_RANGE = (1e-3, 1e7)
DRIFT_RANGE = (1e-8, 1.0)

matplotlib.rcParams.update(
    {
        "figure.dpi": 76,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
    }
)


def small_png(data):
    """The picture with 256 colours, at half the size, and without the version of matplotlib in it."""
    out = io.BytesIO()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def run(program, *arguments):
    """Returns lockstep's standard output. Exit status 0 (parity) and 1 (divergence) are results; any other is an error."""
    command = [str(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def diff(program, model, golden, *arguments):
    """The report of `lockstep diff MODEL --golden G.h5 …`, as a dict."""
    return json.loads(run(program, "diff", model, "--golden", golden, *arguments, "--json", "-"))


def audit(program, model, trace, *arguments):
    """The report of `lockstep audit MODEL TRACE …`, as a dict."""
    return json.loads(run(program, "audit", model, trace, *arguments, "--json", "-"))


def record(program, model, golden, out, *arguments):
    """Records a run on the golden's own tokens with `lockstep trace`, decoded tokens as decode. Returns the file's path."""
    tokens, phase = read_tokens(golden)
    lists = [",".join(map(str, tokens[phase == value])) for value in (0, 1)]
    decode = ["--decode-ids", lists[1]] if lists[1] else []
    run(program, "trace", model, "--ids", lists[0], *decode, *arguments, "-o", out)
    return out


def read_tokens(path):
    """(tokens, phase) of a trace, int32 [P] and uint8 [P]: 0 prefill, 1 decode."""
    with h5py.File(path) as file:
        return file["tokens"][:], file["phase"][:]


def read_stage(path, stage, layer=None):
    """One recorded stage in double precision, [P, width]."""
    with h5py.File(path) as file:
        return file[f"layers/{layer}/{stage}" if layer is not None else f"stages/{stage}"][:].astype(float)


def read_weight(model, name):
    """Reads a float32 tensor of MODEL/model.safetensors. The file is the header's length, the header as JSON, the bytes."""
    data = (Path(model) / "model.safetensors").read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    entry = json.loads(data[8 : 8 + length])[name]
    if entry["dtype"] != "F32":
        raise ValueError(f"{name}: {entry['dtype']}, expected F32")
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + length + begin : 8 + length + end], "<f4").reshape(entry["shape"])


def relative_rms(actual, expected, axis=None):
    """The rms of actual - expected, divided by the rms of expected."""
    return np.sqrt(np.sum((actual - expected) ** 2, axis=axis) / np.sum(expected**2, axis=axis))


def number(value):
    """A number of the report. Nonfinite numbers are strings (NaN, Infinity, -Infinity); null is unknown, here NaN."""
    return math.nan if value is None else float(value)


def steps(report, source):
    """The report's entries of one source, in plan order."""
    return [entry for entry in report["stages"] if entry["source"] == source]


def step_name(step):
    return step["stage"] if step["layer"] is None else f"layer {step['layer']} {step['stage']}"


def table(report, source, key):
    """One value of every step, as (row names, column names, values). Rows are stages in plan order. Columns are layers, with one for
    the embedding in front and one for the head at the end. A cell is masked where the layer lacks the stage."""
    entries = steps(report, source)
    rows = list(dict.fromkeys(entry["stage"] for entry in entries))
    layers = sorted({entry["layer"] for entry in entries if entry["layer"] is not None})
    columns = ["in", *layers, "out"]
    values = np.ma.masked_all((len(rows), len(columns)))
    for i, entry in enumerate(entries):
        outside = "in" if i == 0 else "out"
        column = outside if entry["layer"] is None else entry["layer"]
        values[rows.index(entry["stage"]), columns.index(column)] = number(entry[key])
    return rows, columns, values


def plot_steps(axes, values, *style, lowest, **more):
    """Plots one value of every step, in plan order, on a logarithmic axis that ends at lowest."""
    axes.semilogy([max(number(value), lowest) for value in values], *style, **more)


def mark_layers(panels, plan):
    """Shades every second layer of plots of all steps, and names the layers below the last panel."""
    layers = [step["layer"] for step in plan]
    inside = [(layer, layers.index(layer), layers.count(layer)) for layer in sorted(set(layers) - {None})]
    for axes in panels:
        for layer, start, count in inside:
            if layer % 2 == 0:
                axes.axvspan(start - 0.5, start + count - 0.5, color="0.94", linewidth=0)
    panels[-1].set_xticks([start + (count - 1) / 2 for _, start, count in inside], [f"layer {layer}" for layer, _, _ in inside])


def mark_bound(axes, plan):
    """Draws the bound, a ratio of 1, in a plot of all steps."""
    axes.axhline(1, color="black", linewidth=1)
    axes.text(len(plan), 1.3, "bound", ha="right", va="bottom")


def index_of(plan, step):
    """Where a step of the report, such as first_divergence, is in the plan."""
    return next(i for i, other in enumerate(plan) if step_name(other) == step_name(step))


# Colour scales, both logarithmic. A ratio is white at the bound, blue below it, red above it.
SCALES = {
    "max_ratio": (RATIO_RANGE, TwoSlopeNorm(0, *np.log10(RATIO_RANGE)), "RdBu_r", "error as a ratio to its bound"),
    "relative_rms": (DRIFT_RANGE, Normalize(*np.log10(DRIFT_RANGE)), "cividis", "relative rms against the golden"),
}


def cell_text(value):
    if not math.isfinite(value):
        return str(value)
    if value >= 1000 or 0 < value < 0.01:
        mantissa, exponent = f"{value:.0e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def heat_map(axes, report, source, key, title):
    """Draws one value ("max_ratio" or "relative_rms") of every step of a source, stage by layer, with numbers. Steps that introduce
    an error, by the report, get a frame."""
    (low, high), norm, colours, _ = SCALES[key]
    rows, columns, values = table(report, source, key)
    shown = np.ma.array(np.log10(np.clip(np.nan_to_num(values.data, nan=high, posinf=high), low, high)), mask=values.mask)
    image = axes.imshow(shown, cmap=colours, norm=norm, aspect="auto")
    for (row, column), value in np.ma.ndenumerate(values):
        red, green, blue, _ = image.cmap(norm(shown[row, column]))
        ink = "white" if 0.3 * red + 0.59 * green + 0.11 * blue < 0.5 else "black"
        axes.text(column, row, cell_text(value), ha="center", va="center", fontsize=7.5, color=ink)
    for step in report["introduced"]:
        if step["source"] == source:
            column = columns.index(step["layer"] if step["layer"] is not None else "out")
            place = (column - 0.5, rows.index(step["stage"]) - 0.5)
            axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor="black", linewidth=2, clip_on=False, zorder=3))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.set_xlabel("layer")
    axes.set_title(title, loc="left")
    axes.spines[:].set_visible(False)
    return image


def colour_bar(figure, image, axes, key):
    """Draws the colour scale of heat_map, labelled with powers of ten."""
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.8, aspect=40, pad=0.02, label=SCALES[key][3])
    low, high = np.log10(SCALES[key][0])
    ticks = [-3, 0, 3, 6] if key == "max_ratio" else np.arange(low, high + 1, 2)
    bar.set_ticks(ticks, labels=["1" if tick == 0 else f"$10^{{{tick:.0f}}}$" for tick in ticks])
    bar.outline.set_visible(False)


def who_did_it(figure, report, source):
    """Draws two heat maps of one run, side by side. Left: the distance from the golden, large for everything after a fault. Right: the
    audit's ratio, above 1 only for the fault itself. Returns the two axes."""
    left, right = figure.subplots(1, 2, sharey=True)
    drift = heat_map(left, report, source, "relative_rms", "Compared with the golden: what is different")
    ratio = heat_map(right, report, source, "max_ratio", "Audited from its own inputs: what is wrong")
    colour_bar(figure, drift, left, "relative_rms")
    colour_bar(figure, ratio, right, "max_ratio")
    introduced = [step for step in report["introduced"] if step["source"] == source]
    if introduced:
        # Put the words where no layer has a stage, and the arrow along the cell's edge, so that no number is covered.
        first = introduced[0]
        rows, columns, _ = table(report, source, "max_ratio")
        edge = columns.index(first["layer"] if first["layer"] is not None else "out") + 0.5
        right.annotate(
            f"introduced here: {step_name(first)},\n{cell_text(number(first['ratio']))} times its bound",
            xy=(edge, rows.index(first["stage"]) + 0.5),
            xytext=(min(max(edge, 1.8), len(columns) - 3.7), len(rows) - 1.2),
            ha="center",
            fontsize=9,
            fontweight="bold",
            arrowprops={"arrowstyle": "->", "linewidth": 1.5, "relpos": (0.5, 1), "shrinkB": 0},
        )
    return left, right
