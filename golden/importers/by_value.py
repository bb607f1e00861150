"""Arrays whose names say nothing: where the sum of two recorded stages is a third one, by shape and values, and one stage alone fits.
A name is never overruled by this, and what it finds is told, array by array."""

import numpy

SLACK = 2.0**-22  # of |a| + |b|: a sum in float32, rounded once more


def _sums(n_layers, has):
    """(output, input, input) of every residual sum. has(stage, layer): whether the model has it."""
    for i in range(n_layers):
        before = ("embed", None) if i == 0 else ("layer_out", i - 1)
        attention = "post_attn_norm" if has("post_attn_norm", i) else "o_proj"
        ffn = next(stage for stage in ("post_ffn_norm", "moe_out", "ffn_down") if stage == "ffn_down" or has(stage, i))
        yield ("attn_resid", i), before, (attention, i)
        yield ("layer_out", i), ("attn_resid", i), (ffn, i)


def _holds(output, a, b):
    bound = SLACK * (numpy.abs(a) + numpy.abs(b))
    return bool((numpy.abs(output - (a + b)) <= bound).all()) and bool(numpy.abs(output).max() > 0)


def find(n_layers, has, known, array):
    """The stages that an array is, going by values. known(stage, layer): rows in float64, or None."""
    array, fits = array.astype(numpy.float64), set()
    for sum_of in _sums(n_layers, has):
        rows = [known(*place) for place in sum_of]
        missing = [i for i, row in enumerate(rows) if row is None]
        if len(missing) != 1 or any(row is not None and row.shape != array.shape for row in rows):
            continue
        rows[missing[0]] = array
        if _holds(*rows):
            fits.add(sum_of[missing[0]])
    return fits
