"""A record, as record/lockstep_record.h and lockstep_record.py write it: chunks of a head of 128 bytes and data. A program that was killed
leaves a last chunk that is cut short, or none that says the end: what is whole is used."""

import os
import re
import struct

import numpy

from .dump import ARITHMETIC, Dump, Entry, Refused
from .names import STAGES

HEAD = struct.Struct("<4sIiIQQ96s")
BEGIN, DECLARED, BATCH, ROWS, END = range(1, 6)
TEXT = 255
TYPES = {0: ("float32", 4), 1: ("float16", 2), 2: ("bfloat16", 2), 3: ("float64", 8), 4: ("int32", 4), TEXT: ("text", 1)}
MOST_CHUNKS = 10_000_000
# general.architecture of a GGUF -> model_type
ARCHITECTURES = {"gemma3": "gemma3_text", "gpt-oss": "gpt_oss"}
ROPE_ORDERS = ("pairs", "halves")
NO_STAGE = re.compile(r"(^|\.)(rotary_emb(\.\d+)?|act_fn|embed_tokens\.input)$")


def knows(source, begin):
    return begin is not None and (begin.startswith(b"LSR1") or source.lower().endswith(".rec"))


class Reader:
    """The chunks of one file, in their order."""

    def __init__(self, source):
        self.source, self.dump = source, Dump([], tokens=[], phase=[])
        self.entries = {}  # (name, layer, forward pass) -> Entry: the last one counts
        self.declared = {}  # (name, layer) -> {attribute: value}
        self.call, self.at, self.ended = -1, 0, False
        self.passes = []  # tokens of each forward pass

    def read(self):
        size = os.path.getsize(self.source)
        with open(self.source, "rb") as file:
            while not self.ended and self.at < size:
                file.seek(self.at)
                head = file.read(HEAD.size)
                if len(head) < HEAD.size or not self._chunk(file, HEAD.unpack(head), size):
                    break
        if not self.dump.attributes:
            raise Refused(None, f"holds {size} bytes and no whole beginning: the program died before lockstep_record_begin was through")
        if not self.ended:
            self.dump.notes.append("the program ended before the end of the record: what it had put is used")
        self._check_passes()
        self._finish()
        return self.dump

    def _refuse(self, text):
        raise Refused(f"chunk @{self.at}", text)

    def _chunk(self, file, head, size):
        """Takes one chunk. False: it is cut short."""
        magic, kind, layer, type_code, rows, width, name = head
        if magic != b"LSR1":
            self._refuse(f"begins with {magic!r}, expected LSR1: the file is damaged")
        if type_code not in TYPES or not BEGIN <= kind <= END:
            self._refuse(f"is of kind {kind} and type {type_code}, expected those of record/lockstep_record.h")
        if (kind == BEGIN) != (self.at == 0):
            self._refuse("begins a record in the middle of another" if self.at else "does not begin a record")
        try:
            name = name.split(b"\0")[0].decode()
        except UnicodeDecodeError:
            self._refuse("has a name that is no UTF-8")
        dtype, item = TYPES[type_code]
        count = width if dtype == "text" else rows * width
        begin = self.at + HEAD.size
        if begin + count * item > size:
            return False
        (self._begin, self._declare, self._batch, self._rows, self._end)[kind - 1](file, layer, dtype, rows, width, name, begin)
        self.at = begin + count * item
        return True

    def _text(self, file, begin, length):
        file.seek(begin)
        try:
            return file.read(length).decode()
        except UnicodeDecodeError:
            self._refuse("holds text that is no UTF-8")

    def _begin(self, file, layer, dtype, rows, width, name, begin):
        self.dump.producer = self._text(file, begin, width)
        self.dump.attributes.update(model_type=ARCHITECTURES.get(name, name), n_layers=rows)

    def _declare(self, file, layer, dtype, rows, width, name, begin):
        attribute, equals, value = self._text(file, begin, width).partition("=")
        if attribute == "rope_order" and value in ROPE_ORDERS:
            self.dump.rope_order = value
        elif attribute not in ARITHMETIC:
            self._refuse(f"declares {attribute!r}, expected rope_order or one of {', '.join(ARITHMETIC)}")
        elif name:
            self.declared.setdefault((name, layer), {})[attribute] = value
        else:
            self.dump.attributes[attribute] = value

    def _batch(self, file, phase, dtype, rows, width, name, begin):
        if dtype != "int32" or width != 1 or phase not in (0, 1) or not 0 < rows:
            self._refuse(f"begins a forward pass of {rows} tokens in phase {phase}, expected int32 tokens in phase 0 or 1")
        file.seek(begin)
        self.dump.tokens += numpy.frombuffer(file.read(4 * rows), "<i4").tolist()
        self.dump.phase += [phase] * rows
        self.passes.append(rows)
        self.call += 1

    def _rows(self, file, layer, dtype, rows, width, name, begin):
        if dtype == "text" or not rows or not width:
            self._refuse(f"holds [{rows}, {width}] {dtype} of {name}, expected numbers")
        if self.call < 0:
            self._refuse(f"holds {name} before any tokens: call lockstep_record_batch at the beginning of a forward pass")
        base, _, op = name.partition(" ")
        whole = base if layer < 0 else f"{base}-{layer}"
        self.entries[name, layer, self.call] = Entry(
            whole, (rows, width), dtype, lambda: self._load(begin, dtype, rows, width), op=op, call=self.call,
            attributes=self.declared.setdefault((name, layer), {}))

    def _end(self, *_):
        self.ended = True

    def _load(self, begin, dtype, rows, width):
        stored = numpy.dtype("<u2" if dtype == "bfloat16" else dtype).newbyteorder("<")
        return numpy.fromfile(self.source, stored, rows * width, offset=begin).reshape(rows, width)

    def _check_passes(self):
        """A forward pass that the program did not get through is left out, unless it is the only one. One without rows is refused: those
        behind it would be taken for its own."""
        if self.call > 0 and (not self.ended or not self._keys_of(self.call)):
            for key in self._keys_of(self.call):
                del self.entries[key]
            n = self.passes.pop()
            del self.dump.tokens[-n:], self.dump.phase[-n:]
            self.dump.notes.append(f"the last forward pass, of {n} token{'s' if n > 1 else ''}, is not whole: left out")
        for call, n in enumerate(self.passes):
            if not self._keys_of(call):
                raise Refused(f"forward pass {call}", f"has {n} tokens and no rows: put its stages, or do not begin it")

    def _keys_of(self, call):
        return [key for key in self.entries if key[2] == call]

    def _finish(self):
        """lockstep's own names are stages; the others are put into place by the table. What lockstep_record.py takes and no stage is, is
        left out."""
        for (name, layer, _), entry in self.entries.items():
            if name in STAGES:
                entry.stage = (name, None if layer < 0 else layer)
            if not NO_STAGE.search(name):
                self.dump.entries.append(entry)


def read(source):
    return Reader(source).read()
