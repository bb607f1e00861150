"""lockstep_record.py: writes what a PyTorch model, or any Python program, computes into a file that lockstep audits.

One file: copy it beside your script. It needs torch for record() alone, and numpy for Recorder.put() of arrays.

    from lockstep_record import record

    with record(model, "mine.rec"):
        model.generate(input_ids, max_new_tokens=4, do_sample=False)

    $ lockstep audit MODEL mine.rec

record() takes the outputs, and the inputs that are nobody's output, of all modules below `model` by their path, whatever the model
is; lockstep maps the paths to its stages. For an engine without modules, name the stages yourself:

    with Recorder("mine.rec", "my engine", "llama", n_layers=30) as r:
        r.batch(tokens)                      # once a forward pass: token ids; r.batch([token], decode=True) when one is fed back
        r.put("embed", embedded)             # [positions, width]
        r.put("q_proj", q, layer=0)
        r.declare("kv_dtype", "float16")     # what is not declared is inferred

Every call writes to the file before it returns: a program that dies leaves all that it has put.
"""

import contextlib
import itertools
import struct
import sys

BEGIN, DECLARED, BATCH, ROWS, END = range(1, 6)
TYPES = {"float32": 0, "float16": 1, "bfloat16": 2, "float64": 3, "int32": 4}
TEXT = 255
NO_LAYER = -1


class Recorder:
    def __init__(self, path, producer, model_type, n_layers):
        """model_type: as in config.json ("llama", "gemma2", "gemma3_text", "gpt_oss")."""
        self.file = open(path, "wb", buffering=0)
        producer = producer.encode()
        self._chunk(BEGIN, 0, TEXT, n_layers, len(producer), model_type, producer)

    def declare(self, attribute, value, stage="", layer=NO_LAYER):
        """An arithmetic of the engine, of one stage of a layer or of all: "operand_dtype", "storage_dtype" and others, see docs/traces.md."""
        text = f"{attribute}={value}".encode()
        self._chunk(DECLARED, layer, TEXT, 1, len(text), stage, text)

    def batch(self, tokens, decode=False):
        """A forward pass over the next positions begins. decode: tokens are fed back one at a time."""
        tokens = [int(token) for token in tokens]
        self._chunk(BATCH, int(decode), TYPES["int32"], len(tokens), 1, "", struct.pack(f"<{len(tokens)}i", *tokens))

    def put(self, stage, values, layer=NO_LAYER):
        """values: [positions, width] of this forward pass; anything that numpy.asarray takes, or a torch tensor. Fewer rows than positions
        are those of the last positions. A stage that is put again replaces what was put."""
        if hasattr(values, "detach"):  # a torch tensor; numpy has no bfloat16
            values = values.detach().contiguous().cpu()
            name = str(values.dtype).removeprefix("torch.")
            name = "int32" if name == "int64" else name
            values = values.int() if name == "int32" else values
            data = memoryview(values.reshape(-1).view(dtype=_bytes_type()).numpy())
        else:
            import numpy

            values = numpy.ascontiguousarray(values)
            values = values.astype("int32") if values.dtype == "int64" else values
            name, data = values.dtype.name, memoryview(values.reshape(-1)).cast("B")
        if name not in TYPES:
            raise TypeError(f"{stage}: values are {name}, expected one of {', '.join(TYPES)}")
        if len(values.shape) != 2:
            raise ValueError(f"{stage}: shape {tuple(values.shape)}, expected [positions, width]")
        self._chunk(ROWS, layer, TYPES[name], *values.shape, stage, data)

    def close(self):
        if not self.file.closed:
            self._chunk(END, 0, TEXT, 0, 0, "", b"")
            self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self.file.close()

    def _chunk(self, kind, layer, type_code, rows, width, name, data):
        """A head of 128 bytes, then the data, little-endian: lockstep_record.h has the same."""
        name = name.encode()
        if len(name) > 95:
            raise ValueError(f"{name.decode()}: names have at most 95 bytes")
        head = struct.pack("<4sIiIQQ96s", b"LSR1", kind, layer, type_code, rows, width, name)
        for part in (head, data):
            part = memoryview(part)
            while part.nbytes:  # a write may be short
                part = part[self.file.write(part) :]


def _bytes_type():
    import torch

    return torch.uint8


def _rows(value, n):
    """[positions, width] of a tensor that holds one row for each of n positions, or None. A batch dimension of 1 is dropped; of
    [heads, positions, dim] the heads of a position are joined."""
    value = value.detach()
    while value.dim() > 2 and value.shape[0] == 1:
        value = value[0]
    if value.dim() == 3 and value.shape[1] == n and (value.shape[0] != n or value.stride(1) > value.stride(0)):
        value = value.transpose(0, 1)
    if value.dim() == 1 and n == 1:
        value = value[None]
    if value.dim() < 2 or value.shape[0] > n or value.shape[0] == 0:
        return None
    return value.reshape(value.shape[0], -1)


class _Hooks:
    """The hooks of one model. `seen` holds the tensors of the running pass that were recorded, so that no value is written twice."""

    def __init__(self, recorder):
        self.recorder, self.n, self.seen, self.attention, self.passes = recorder, 0, {}, None, 0

    def begin(self, module, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        if ids is None or ids.dim() != 2 or ids.shape[0] != 1:
            shape = "no input_ids" if ids is None else f"input_ids of shape {tuple(ids.shape)}"
            raise ValueError(f"lockstep_record: {shape}, expected [1, positions]: one sequence, given as token ids")
        self.n, self.seen = ids.shape[1], {}
        self.recorder.batch(ids[0].tolist(), decode=self.passes > 0 and self.n == 1)
        self.passes += 1

    def take(self, name, value):
        if isinstance(value, (tuple, list)):
            for i, part in enumerate(value):
                self.take(f"{name}.{i}", part)
            return
        if not hasattr(value, "detach") or not self.n:
            return
        version = 0 if value.is_inference() else value._version  # counts changes in place
        if self.seen.get(id(value), (None, -1))[1] == version:
            return
        self.seen[id(value)] = (value, version)
        rows = _rows(value, self.n)
        if rows is not None:
            self.recorder.put(name, rows)

    def input(self, name):
        return lambda module, args: self.take(f"{name}.input", args[0] if args else None)

    def output(self, name):
        if name.endswith("attn"):  # probabilities, its second output, are [heads, positions, keys] and no rows
            return lambda module, args, output: self.take(name, output[0] if isinstance(output, tuple) else output)
        return lambda module, args, output: self.take(name, output)

    def attention_begins(self, name):
        def begins(module, args):
            self.attention = name

        return begins

    def rope(self, plain):
        def recording(*args, **kwargs):
            rotated = plain(*args, **kwargs)
            for part, value in zip(("q_rope", "k_rope"), rotated):
                self.take(f"{self.attention}.{part}", value)
            return rotated

        return recording


@contextlib.contextmanager
def record(model, path, producer=None, model_type=None, n_layers=None):
    """Records each forward pass of a torch model inside the `with` block: the first is the prompt, passes of one token are decoded.
    model_type and n_layers are taken from model.config where there is one."""
    config = getattr(model, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    model_type = model_type or getattr(config, "model_type", None)
    n_layers = n_layers or getattr(config, "num_hidden_layers", None)
    if model_type is None or n_layers is None:
        raise ValueError("lockstep_record: the model has no config: give model_type and n_layers")
    producer = producer or f"{type(model).__module__.partition('.')[0]} {type(model).__name__}"
    with Recorder(path, producer, model_type, n_layers) as recorder:
        hooks = _Hooks(recorder)
        handles = [model.register_forward_pre_hook(hooks.begin, with_kwargs=True)]
        ropes = {}
        for name, module in model.named_modules():
            if name.endswith("attn"):
                handles.append(module.register_forward_pre_hook(hooks.attention_begins(name)))
                source = sys.modules[type(module).__module__]
                if hasattr(source, "apply_rotary_pos_emb"):
                    ropes[source] = source.apply_rotary_pos_emb
            if name and not any(True for _ in module.children()):
                handles.append(module.register_forward_pre_hook(hooks.input(name)))
            if name:
                handles.append(module.register_forward_hook(hooks.output(name)))
        dtypes = {str(p.dtype).removeprefix("torch.") for p in itertools.islice(model.parameters(), 1000)}
        if dtypes <= {"bfloat16"} or dtypes <= {"float16"}:
            recorder.declare("storage_dtype", *dtypes)
        for source, plain in ropes.items():
            source.apply_rotary_pos_emb = hooks.rope(plain)
        try:
            yield recorder
        finally:
            for source, plain in ropes.items():
                source.apply_rotary_pos_emb = plain
            for handle in handles:
                handle.remove()
