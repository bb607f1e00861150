"""Which way an array lies: from its shape to rows, one a position. Nothing here looks at values."""

import dataclasses

import numpy

from .dump import Refused

Q_HEADS, KV_HEADS = ("q_proj", "q_norm", "q_rope", "attn_out"), ("k_proj", "v_proj", "k_norm", "k_rope")
BY_HEADS = ("q_norm", "k_norm", "q_rope", "k_rope")


class Mismatch(Exception):
    """A shape that no stage's rows have; the text says what was expected."""


class Ambiguous(Mismatch):
    """As many heads as positions."""


@dataclasses.dataclass
class Fit:
    rows: int
    told: list  # what is put right: "batch dimension of 1"
    apply: object  # function: array as loaded, and one past the position of its last row -> [rows, width]


def _heads(stage, model):
    if model is None:
        return None
    return model["n_heads"] if stage in Q_HEADS else model["n_kv_heads"] if stage in KV_HEADS else None


def _as_rows(shape, rows, width, told):
    return Fit(rows, told, lambda array, end: array.reshape(shape).reshape(rows, width))


def fit_probs(shape, n_positions):
    """[heads, queries, keys], the last key being the last query's -> [queries, heads * positions]."""
    told = ["batch dimension of 1"] if len(shape) == 4 and shape[0] == 1 else []
    shape = shape[1:] if told else shape
    if len(shape) == 2 and shape[1] % n_positions == 0:
        return _as_rows(shape, shape[0], shape[1], told)
    if len(shape) != 3 or shape[1] > shape[2]:
        raise Mismatch(f"shape {list(shape)}, expected [heads, positions, positions]")
    heads, queries, keys = shape

    def apply(array, end):
        padded = numpy.zeros((queries, heads, max(n_positions, keys)), array.dtype)
        first = max(0, end - keys)  # of a sliding window, only the latest keys are there; a static cache has later ones, too
        padded[:, :, first : first + keys] = array.reshape(shape).swapaxes(0, 1)
        if padded[:, :, n_positions:].any():
            raise Refused("attn_probs", f"holds shares of keys after position {n_positions - 1}, the last one")
        return padded[:, :, :n_positions].reshape(queries, -1)

    return Fit(queries, told + ["heads first"], apply)


def fit(shape, stage, width, n_positions, model, layout=None):
    """width: of a row; None: not known, it is the last dimension. layout: "heads-first" or "positions-first" where the user says."""
    shape, told = list(shape), []
    if stage == "attn_probs":
        return fit_probs(shape, n_positions)
    heads = _heads(stage, model)
    if model is None and len(shape) == 3 and shape[0] == 1 and stage in BY_HEADS:
        raise Mismatch(f"shape {shape}: only --model MODEL tells heads from positions")
    while len(shape) > 2 and shape[0] == 1 and not (len(shape) == 3 and heads and shape[1] == heads and shape[1] * shape[2] == width != shape[2]):
        shape, told = shape[1:], ["batch dimension of 1"]
    if len(shape) == 4 or (len(shape) == 3 and shape[2] == width and shape[1] != 1):
        raise Mismatch(f"a batch of {shape[0]} sequences, expected one: save x[0]")
    if len(shape) == 1:
        if width in (None, shape[0]):
            return _as_rows(shape, 1, shape[0], told)
        if shape[0] % width == 0 and shape[0] // width <= n_positions:  # raw values have no shape
            return _as_rows(shape, shape[0] // width, width, told)
    if len(shape) == 2:
        if width is None:
            first = shape[0] > n_positions >= shape[1]
            width = shape[0] if first else shape[1]
        if shape[1] == width:
            return _as_rows(shape, shape[0], width, told)
        if shape[0] == width:
            return Fit(shape[1], told + ["transposed"], lambda array, end: array.reshape(shape).T)
        if shape[0] * shape[1] == width:
            return _as_rows(shape, 1, width, told)
    if len(shape) == 3:
        return _fit_heads(shape, width, n_positions, heads, layout, told)
    raise Mismatch(f"shape {shape}, expected [positions, {width}]")


def _fit_heads(shape, width, n_positions, heads, layout, told):
    """[positions, heads, dim] or [heads, positions, dim]."""
    a, b, dim = shape
    after = (width in (None, b * dim)) and (heads is None or b == heads) and a <= n_positions
    first = (width in (None, a * dim)) and (heads is None or a == heads) and b <= n_positions
    if after and first:
        if layout is None and a != b:
            after, first = a == n_positions or b != n_positions, b == n_positions and a != n_positions
        elif layout is None:
            raise Ambiguous(f"shape {shape}: heads first or positions first? Say it under [layout] in FILE of `lockstep import --map FILE`")
    if layout == "heads-first" and first:
        after = False
    if after:
        return _as_rows(shape, a, b * dim, told)
    if first:
        return Fit(b, told + ["heads first"], lambda array, end: array.reshape(shape).swapaxes(0, 1).reshape(b, a * dim))
    raise Mismatch(f"shape {shape}, expected [positions, {width}]")


def halves(rows, dim):
    """Rows of q or k from the order of adjacent pairs to that of halves."""
    n = rows.shape[0]
    return rows.reshape(n, -1, dim // 2, 2).swapaxes(2, 3).reshape(n, -1)
