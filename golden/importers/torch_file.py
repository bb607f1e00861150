""".pt, .pth, .bin of torch.save, where torch is installed: tensors in dicts, lists and tuples. weights_only: no code of the file runs."""

import zipfile

from .dump import ATTRIBUTES, Dump, Entry, Refused


def knows(source, begin):
    if begin is None:
        return False
    return source.lower().endswith((".pt", ".pth")) or (begin.startswith(b"PK\x03\x04") and b"/data.pkl" in begin[:256])


def import_torch():
    try:
        import torch
    except ModuleNotFoundError:
        raise Refused(None, "is torch's, which is not installed: .venv/bin/pip install -r requirements-golden.txt, or save it with "
                      "numpy.savez", "absent") from None
    return torch


def _check_zip(source):
    """torch stores its members as they are. Compressed ones could be of any size."""
    with zipfile.ZipFile(source) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise Refused(member.filename, "is compressed, which torch.save never does: save it again")


def load_file(source):
    """What was saved; its tensors are mapped, not read."""
    torch = import_torch()
    is_zip = zipfile.is_zipfile(source)
    try:
        if is_zip:
            _check_zip(source)
        return torch.load(source, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # torch raises UnpicklingError, RuntimeError, and what a damaged pickle leads to
        text = " ".join(str(error).split())
        if "weights_only" in text or "Unsupported" in text:
            raise Refused(None, "holds Python objects, which are not loaded: save tensors alone, torch.save(dict(output), file)") from None
        raise Refused(None, f"cannot be read by torch: it is cut short or damaged ({text[:120]})") from None


def flatten(name, value, entries, attributes):
    """Adds the tensors inside dicts, lists and tuples, called by their way there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            flatten(f"{name}.{key}" if name else str(key), inner, entries, attributes)
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            flatten(f"{name}.{i}" if name else str(i), inner, entries, attributes)
    elif hasattr(value, "detach"):
        entries.append(entry_of(name, value))
    elif name in ATTRIBUTES and isinstance(value, str | int | float):
        attributes[name] = value


def entry_of(name, tensor):
    torch = import_torch()
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.is_sparse or tensor.is_quantized or "float8" in dtype or "complex" in dtype:
        raise Refused(name, f"is a {dtype} tensor of layout {tensor.layout}, expected dense floats: save tensor.float()")
    tensor = tensor.detach()

    def load():
        return (tensor.view(torch.uint16) if dtype == "bfloat16" else tensor).contiguous().numpy()

    return Entry(name, tuple(tensor.shape), dtype, load)


def read(source):
    dump = Dump([], producer="tensors (torch.save)")
    value = load_file(source)
    flatten("", value, dump.entries, dump.attributes)
    if dump.entries and all(entry.name.endswith((".weight", ".bias")) for entry in dump.entries):
        raise Refused(None, "holds weights: it is a MODEL, expected a dump of its run")
    return dump
