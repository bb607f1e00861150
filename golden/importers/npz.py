""".npz: a zip of numpy arrays. A member is loaded only after its header was read, and Python objects never are."""

import zipfile
import zlib

import numpy

from .dump import ATTRIBUTES, Dump, Entry, Refused

MOST_MEMBERS = 200000
MOST_TEXT = 1 << 16  # bytes


def knows(source, begin):
    if begin is None or source.lower().endswith((".pt", ".pth")):
        return False
    return source.lower().endswith(".npz") or (begin.startswith(b"PK\x03\x04") and b"/data.pkl" not in begin[:256])


def read_header(file, field):
    """Shape, dtype and order of the array that an open .npy file holds; the file stands behind its header then."""
    try:
        version = numpy.lib.format.read_magic(file)
        reader = {(1, 0): numpy.lib.format.read_array_header_1_0, (2, 0): numpy.lib.format.read_array_header_2_0}.get(version)
        if reader is None:
            raise Refused(field, f"has version {version} of .npy, expected 1.0 or 2.0")
        shape, fortran, dtype = reader(file)
    except Refused:
        raise
    except Exception as error:  # numpy reads the header as Python text: also SyntaxError, TokenError and others
        raise Refused(field, f"is no .npy array: {' '.join(str(error).split())[:160]}") from None
    if dtype.hasobject:
        raise Refused(field, "holds Python objects, which are not loaded; save numbers: numpy.savez(file, **{name: array})")
    return shape, fortran, dtype


def n_bytes(shape, dtype):
    size = dtype.itemsize
    for n in shape:
        size *= n
    return size


def dtype_name(dtype):
    """bfloat16 has no type in numpy: it is stored as two bytes without a meaning."""
    return "bfloat16" if dtype.kind == "V" and dtype.itemsize == 2 and dtype.names is None else dtype.name


def read_values(file, field, shape, fortran, dtype):
    """The array behind a header. Reads what its shape says and no more."""
    wanted = n_bytes(shape, dtype)
    data = file.read(wanted)
    if len(data) != wanted:
        raise Refused(field, f"holds {len(data)} of {wanted} bytes: the file is cut short")
    array = numpy.frombuffer(data, dtype=numpy.uint16 if dtype_name(dtype) == "bfloat16" else dtype)
    array = array.reshape(shape, order="F" if fortran else "C")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _load(source, member, field):
    try:
        with zipfile.ZipFile(source) as archive, archive.open(member) as file:
            return read_values(file, field, *read_header(file, field))
    except (zipfile.BadZipFile, zlib.error) as error:
        raise Refused(field, f"is damaged: {error}") from None


def attribute(dump, entry):
    """Takes an array without dimensions whose name is an attribute's. Returns whether it was one."""
    if entry.name not in ATTRIBUTES or entry.shape != ():
        return False
    value = entry.load()
    dump.attributes[entry.name] = str(value) if value.dtype.kind in "US" else value.item()
    return True


def read(source):
    dump = Dump([], producer="numpy arrays (.npz)")
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise Refused(None, "is no complete zip file: it is cut short or another format; save it again with numpy.savez") from None
    with archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise Refused(None, f"holds {len(members)} arrays, expected at most {MOST_MEMBERS}")
        for member in members:
            field = member.filename.removesuffix(".npy")
            if not member.filename.endswith(".npy"):
                raise Refused(field, "is no .npy array; a .pt file has another ending")
            try:
                with archive.open(member) as file:
                    shape, fortran, dtype = read_header(file, field)
                    size = file.tell() + n_bytes(shape, dtype)
            except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
                raise Refused(field, f"cannot be read: {error}") from None
            if dtype.kind in "US" and size > MOST_TEXT:
                raise Refused(field, f"holds a text of {size} bytes, expected numbers")
            if size != member.file_size:
                raise Refused(field, f"claims {size} bytes, and the zip file has {member.file_size} of it")
            entry = Entry(field, tuple(shape), dtype_name(dtype), lambda m=member.filename, f=field: _load(source, m, f))
            if not attribute(dump, entry):
                dump.entries.append(entry)
    return dump
