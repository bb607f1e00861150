"""What a reader of a format returns: the arrays of a dump, none of them loaded yet."""

import dataclasses
from collections.abc import Callable


class Refused(Exception):
    """A source that cannot be imported, in one line that says what to do. field: what of the file; None: all of it."""

    def __init__(self, field, text, status="bad-input"):
        super().__init__(text)
        self.field, self.text, self.status = field, text, status


@dataclasses.dataclass
class Entry:
    """An array of a dump. Its shape is known before it is loaded, so that nothing is loaded that no stage has room for."""

    name: str  # as the dump has it
    shape: tuple
    dtype: str  # numpy's name, or "bfloat16"
    load: Callable  # returns the numpy array; of bfloat16 its bits, as uint16
    op: str = ""  # llama.cpp's op that made it: "MUL_MAT", "ROPE"; "": the dump does not say
    call: int | None = None  # which forward pass made it; None: the name may tell, or there was one
    stage: tuple | None = None  # (stage, layer or None) where the reader knows it already
    attributes: dict = dataclasses.field(default_factory=dict)  # of this stage: operand_dtype …


@dataclasses.dataclass
class Dump:
    entries: list
    producer: str = "imported"
    attributes: dict = dataclasses.field(default_factory=dict)  # of the trace: model_type, kv_dtype …
    tokens: list | None = None  # where no array holds them
    phase: list | None = None  # of each token: 0 prefill, 1 decode
    rope_order: str | None = None  # of q's and k's rows: "pairs", "halves"; None: by the engine and the model
    notes: list = dataclasses.field(default_factory=list)


ARITHMETIC = (
    "storage_dtype", "rounded_dtype", "sum_dtype", "operand_dtype", "kv_dtype", "values_dtype", "scores_dtype",
    "shifted_scores_dtype", "probs_dtype", "table_dtype", "activation_dtype", "weights_dtype")
# Texts and numbers that a dump may hold beside its arrays; they become attributes of the trace.
ATTRIBUTES = (*ARITHMETIC, "model_type", "producer", "n_layers", "weights_sha256", "config_sha256", "temperature", "top_k", "top_p", "seed")
