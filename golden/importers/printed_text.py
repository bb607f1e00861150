"""Text that a program printed of its tensors: recognised, and refused. It holds a few values of each row with a few digits, from which no
op can be computed again. https://github.com/ggml-org/llama.cpp/blob/master/common/debug.cpp prints three values at each end, with four
decimals; DOPPLER's log lines hold maxima and single dims."""

import re

from .dump import Refused

MOST_LOOKED_AT = 1 << 20  # bytes: logs begin with other lines
KINDS = (
    (re.compile(rb"(common_debug_cb_eval|ggml_debug): +\S+ = \(\w+\)"), "the text of llama.cpp's eval-callback: six values a row, four decimals",
     "record whole rows with cb_eval (docs/traces.md, Record from llama.cpp)"),
    (re.compile(rb"\b(LAYER_OUT|FINAL_HIDDEN|LAST_TOKEN|PROBE|TRACE:\w+)\b"), "a log of DOPPLER's form: maxima and single dims, rounded",
     "write whole stages, as .npy or raw .f32 files in a folder (docs/traces.md, Import)"),
)


def _kind(source):
    with open(source, "rb") as file:
        text = file.read(MOST_LOOKED_AT)
    return None if b"\0" in text[:4096] else next((kind for kind in KINDS if kind[0].search(text)), None)


def knows(source, begin):
    return begin is not None and _kind(source) is not None


def read(source):
    _, what, cure = _kind(source)
    raise Refused(None, f"is {what}; no op can be computed again from it: {cure}")
