"""From the arrays of a dump to a trace file: names to stages, shapes to rows, forward passes one after the other. What was put right is
told, what has no place is listed; a name is never overruled by values."""

import collections

import numpy

from . import by_value
from .dump import Refused
from .fit import Ambiguous, Mismatch, fit
from .names import Names, Place, dataset, strip_call
from .writing import chunks_of, rows_by_pass, rows_of, write_trace

MOST_POSITIONS = 1 << 22
# From o_proj of the last layer on, an engine may compute only the rows whose logits were asked for.
MAY_BE_TRIMMED = ("attn_out", "o_proj", "post_attn_norm", "attn_resid", "ffn_norm", "ffn_gate", "ffn_up", "ffn_act", "ffn_down", "post_ffn_norm",
                  "router_logits", "router_weights", "router_indices", "moe_gate_up", "moe_act", "moe_down", "moe_out", "layer_out")


class Assembly:
    def __init__(self, dump, model, mapping):
        self.dump, self.model, self.mapping = dump, model, mapping
        self.model_type = (model or {}).get("model_type") or mapping.trace.get("model_type") or dump.attributes.get("model_type")
        self.found = collections.defaultdict(list)  # (stage, layer) or (special, None) -> [(place, call, entry, slice)]
        self.left = []  # (name, why) of arrays that have no place
        self.stack = None, None  # the entry of the latest stack of layers, and its array
        self.nameless = []  # entries whose names say nothing
        self.layouts = collections.defaultdict(set)  # stage -> how its arrays lie, as far as their shapes tell
        self.told = collections.Counter()  # what was put right -> arrays

    # --- names

    def place_all(self):
        names = Names([entry.name for entry in self.dump.entries], self.model_type)
        self.n_layers = self._count_layers(names)
        for entry in self.dump.entries:
            name, call = strip_call(entry.name)
            call = entry.call if entry.call is not None else call
            place = self._place(names, entry, name)
            if place == "ignore":
                continue
            if place is None:
                self.left.append((entry.name, ""))
                if call is None:
                    self.nameless.append(entry)
            elif place.either:
                self.left.append((entry.name, f"{' or '.join(place.either)}: the name alone says both"))
            elif place.stack:
                self._place_stack(place, call if place.call is None else place.call, entry)
            else:
                self._add(place, call, entry)

    def _place(self, names, entry, name):
        said = self.mapping.find(entry.name)
        if said == "ignore" or said is None and entry.stage is None:
            return said or names.match(name, entry.op)
        if said in ("tokens", "phase"):
            return Place((said,))
        stage, layer = said or entry.stage
        return Place((stage,), layer, rank=2)

    def _count_layers(self, names):
        if self.model:
            return self.model["n_layers"]
        declared = self.mapping.trace.get("n_layers") or self.dump.attributes.get("n_layers")
        if declared:
            return int(declared)
        highest, states = -1, 0
        for entry in self.dump.entries:
            name = strip_call(entry.name)[0]
            place = self._place(names, entry, name)
            if not isinstance(place, Place):
                continue
            if place.stack and place.layer is None:
                states = max(states, entry.shape[0] if entry.shape else 0)
            elif place.stack == "hidden_states":
                states = max(states, place.layer + 1)
            elif place.layer is not None and not place.stack:
                highest = max(highest, place.layer)
        if highest < 0 and states < 2:
            raise Refused(None, "has no array whose name tells its layer, expected `lockstep import --model MODEL`, or n_layers in its --map FILE" if self.dump.entries
                          else "holds no arrays")
        return max(highest + 1, states - 1)

    def _add(self, place, call, entry, take=None):
        layer = self.n_layers - 1 if place.layer == -1 else place.layer
        key = (" ".join(place.parts), layer)
        if layer is not None and layer >= self.n_layers:
            raise Refused(entry.name, f"is of layer {layer}, and MODEL has {self.n_layers}")
        self.found[key].append((place, call, entry, take))

    def _place_stack(self, place, call, entry):
        """hidden_states and attentions of transformers: one array of all layers, or one each."""
        states = place.stack == "hidden_states"
        count = self.n_layers + states
        if place.layer is None:
            if not entry.shape or entry.shape[0] != count or len(entry.shape) < 3:
                self.left.append((entry.name, f"shape {list(entry.shape)}, expected {count} states of {self.n_layers} layers"))
                return
            pieces = [(i, i) for i in range(count)]
        else:
            pieces = [(place.layer, None)]
        for i, take in pieces:
            stage = ("embed", None) if i == 0 else ("final_norm", None) if i == self.n_layers else ("layer_out", i - 1)
            stage = stage if states else ("attn_probs", i)
            if i >= count:
                raise Refused(entry.name, f"is state {i}, expected {count} of {self.n_layers} layers")
            self._add(Place((stage[0],), stage[1], rank=-1), call, entry, take)

    # --- tokens

    def _integers(self, entry, what):
        shape = list(entry.shape)
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        if len(shape) != 1:
            raise Refused(entry.name, f"has shape {list(entry.shape)}, expected the {what} of one sequence: save x[:1]")
        if not 0 < shape[0] <= MOST_POSITIONS:
            raise Refused(entry.name, f"holds {shape[0]} {what}, expected 1 to {MOST_POSITIONS}")
        array = entry.load().reshape(-1)
        if array.dtype.kind not in "iub" and not (array == numpy.floor(array)).all():
            raise Refused(entry.name, f"holds {array.dtype}, expected integers")
        return array.astype(numpy.int64)

    def tokens(self):
        found = sorted(self.found.pop(("tokens", None), []), key=lambda item: item[1] or 0)
        if "tokens" in self.mapping.trace:
            return numpy.array(self.mapping.trace["tokens"], numpy.int64)
        if found:
            calls = [call for _, call, _, _ in found]
            known = sorted({call for call in calls if call is not None})
            if known and known != list(range(known[0], known[-1] + 1)):
                missing = min(set(range(known[0], known[-1])) - set(known))
                raise Refused("tokens", f"of forward pass {missing} are missing, between those of {known[0]} and {known[-1]}: rows behind it would "
                              "be taken for its own; save every pass")
            if len(set(calls)) < len(calls):
                names = ", ".join(entry.name for _, _, entry, _ in found[:3])
                raise Refused("tokens", f"are given more than once: {names}; say which under [names] in FILE of `lockstep import --map FILE`")
            return numpy.concatenate([self._integers(entry, "tokens") for _, _, entry, _ in found])
        if self.dump.tokens:
            return numpy.array(self.dump.tokens, numpy.int64)
        raise Refused("input_ids", "is missing: save the token ids beside the arrays, as input_ids or tokens, or give tokens = [...] under "
                      "[trace] in FILE of `lockstep import --map FILE`")

    def phase(self, n, chunks):
        """0: prefill, 1: decode. chunks: rows of each forward pass, the last ones of one row being decode."""
        given = self.found.pop(("phase", None), [])
        prompt = self.found.pop(("n_prompt", None), [])
        if given:
            phase = self._integers(given[0][2], "phases")
            if len(phase) != n:
                raise Refused(given[0][2].name, f"has {len(phase)} values, expected {n} as tokens")
            return phase.astype(numpy.uint8)
        n_prompt = self.mapping.trace.get("prompt")
        if n_prompt is None and prompt:
            n_prompt = int(self._integers(prompt[0][2], "numbers")[0]) if prompt[0][2].shape else int(prompt[0][2].load())
        if n_prompt is None and self.dump.phase:
            return numpy.array(self.dump.phase[:n], numpy.uint8)
        if n_prompt is None:
            rows = list(chunks.values())
            while len(rows) > 1 and rows[-1] == 1:
                rows.pop()
            n_prompt = sum(rows)
        return (numpy.arange(n) >= n_prompt).astype(numpy.uint8)

    # --- rows

    def _width(self, stage, layer):
        if stage == "sample_token":
            return 1
        if self.model is None or stage == "attn_probs":
            return None
        width = self.model["widths"].get(dataset(stage, layer))
        if width is None:
            raise Mismatch(f"{self.model['model_type']} has no {stage}")
        return width

    def _widths(self, place, layer, shape):
        """Of a fused array: the width of each part."""
        if len(place.parts) == 1:
            return [self._width(place.parts[0], layer)]
        if self.model:
            return [self._width(stage, layer) for stage in place.parts]
        if place.parts == ("ffn_gate", "ffn_up") and shape and shape[-1] % 2 == 0:
            return [shape[-1] // 2] * 2
        raise Mismatch(f"{' and '.join(place.parts)} in one array: only --model MODEL tells where one ends")

    def _fit(self, place, layer, entry, take, n):
        """(Fit, widths) of an entry."""
        shape = entry.shape if take is None else entry.shape[1:]
        if entry.dtype not in ("uint16", "bfloat16") and numpy.dtype(entry.dtype).kind not in "fiu":
            raise Mismatch(f"type {entry.dtype}, expected floats")
        kind = None if entry.dtype == "bfloat16" else numpy.dtype(entry.dtype).kind
        if kind in ("i", "u") and entry.dtype != "uint16" and place.parts[0] not in ("router_indices", "sample_token"):
            raise Mismatch(f"type {entry.dtype}, expected floats")
        widths = self._widths(place, layer, shape)
        width = None if widths[0] is None else sum(widths)
        stage, layout = place.parts[0], self.mapping.layout.get(place.parts[0])
        try:
            found = fit(shape, stage, width, n, self.model, layout or (place.engine and "positions-first") or None)
        except Ambiguous:
            found = fit(shape, stage, width, n, self.model, self._usual_layout(stage))
        if not layout and len(shape) - shape[:-1].count(1) > 2:
            self.layouts[stage].add("heads-first" if "heads first" in found.told else "positions-first")
        return found, widths

    def _usual_layout(self, stage):
        """How the other arrays of a stage lie, or of all stages, where that is one way; None: nothing tells."""
        found = self.layouts[stage] or set().union(*self.layouts.values())
        return next(iter(found)) if len(found) == 1 else None

    def _candidates(self, items):
        """Of each forward pass those of the highest rank, by pass."""
        best = {}
        for place, call, _, _ in items:
            best[call] = max(place.rank, best.get(call, place.rank))
        items = [item for item in items if item[0].rank == best[item[1]]]
        if all(place.rank < 0 for place, _, _, _ in items):  # one array, handed on from module to module: the first will do
            first = {(call, place.addend, take): item for item in reversed(items) for place, call, _, take in [item]}
            items = list(first.values())
        return sorted(items, key=lambda item: -1 if item[1] is None else item[1])

    def choose(self, n):
        """[(stages, layer, [(place, call, entry, take, fit, widths)…])]: what will be read, without reading it."""
        chosen = []
        for (_, layer), items in self.found.items():  # what shapes tell of layouts, before one is asked for that does not
            for place, _, entry, take in items:
                try:
                    self._fit(place, layer, entry, take, n)
                except Mismatch:
                    pass
        for (parts, layer), items in self.found.items():
            kept = []
            for place, call, entry, take in self._candidates(items):
                try:
                    kept.append((place, call, entry, take, *self._fit(place, layer, entry, take, n)))
                except Mismatch as why:
                    self.left.append((entry.name, str(why)))
            calls = [(call, place.addend) for place, call, *_ in kept]
            for at, call in enumerate(calls):
                if call in calls[:at]:
                    first = kept[calls.index(call)][2].name
                    raise Refused(kept[at][2].name, f"is {dataset(parts.split()[0], layer)}, and so is {first}: say which under [names] in FILE of `lockstep import --map FILE`")
            if kept and not any(how.rows for *_, how, _ in kept):
                self.left += [(entry.name, "no row") for _, _, entry, _, _, _ in kept]
            elif kept:
                chosen.append((parts, layer, kept))
        return chosen + self._same_logits(chosen)

    def _same_logits(self, chosen):
        """Without a softcap, what the LM head made is what sampling sees: the two stages are one array."""
        final = next((kept for parts, _, kept in chosen if parts == "logits_final"), None)
        if self.model is None or self.model["has_softcap"] or final is None or any(parts == "logits" for parts, _, _ in chosen):
            return []
        self.told["logits_final is logits as well, for MODEL has no softcap"] += 1
        return [("logits", None, final)]

    def match_by_value(self, chosen, n):
        """Gives places to arrays without a name, and tells it, array by array."""
        recorded = {(parts, layer): kept for parts, layer, kept in chosen if sum(rows_by_pass(kept).values()) == n}
        loaded, fits = {}, {}

        def known(stage, layer):
            if (stage, layer) not in recorded:
                return None
            if (stage, layer) not in loaded:
                loaded[stage, layer] = rows_of(self, recorded[stage, layer])[0].astype(numpy.float64)
            return loaded[stage, layer]

        def has(stage, layer):
            return dataset(stage, layer) in self.model["widths"] if self.model else any(stage in key[0] for key in self.found)

        told = collections.Counter(self.told)  # what is loaded for a trial is not told
        for entry in self.nameless:
            try:
                how, widths = self._fit(Place(("attn_resid",)), 0, entry, None, n)
            except Mismatch:
                continue
            if how.rows == n:
                item = (Place(("attn_resid",)), None, entry, None, how, widths)
                fits[entry.name] = item, by_value.find(self.n_layers, has, known, rows_of(self, [item])[0])
        self.told = told
        claims = collections.Counter(place for _, places in fits.values() for place in places)
        for name, (item, places) in fits.items():
            if len(places) != 1 or claims[next(iter(places))] != 1:
                continue
            stage, layer = places.pop()
            chosen.append((stage, layer, [item]))
            self.left.remove((name, ""))
            self.dump.notes.append(f"{name}: {dataset(stage, layer)}, by shape and values: the residual's sum holds, and no other stage fits")


def _count_positions(assembly, tokens, chosen):
    """Checks that every stage has a row a token, or those of the last ones where an engine leaves the others out. Returns the number of
    positions: the last token that was sampled has none."""
    n_rows = {}
    for parts, layer, kept in chosen:
        n_rows[parts, layer] = sum(how.rows for place, _, _, _, how, _ in kept if place.addend != 1)
    if not n_rows:
        return len(tokens)
    full = [n for (parts, layer), n in n_rows.items() if not may_be_trimmed(parts, layer, assembly.n_layers)]
    n = max(full, default=max(n_rows.values()))
    if len(tokens) == n + 1:
        assembly.told[f"the last token, {tokens[-1]}, was chosen and not run: left out"] += 1
        return n
    if full and len(tokens) != n:
        worst = next(key for key in n_rows if n_rows[key] == n)
        raise Refused(f"{dataset(worst[0].split()[0], worst[1])}", f"has {n} rows, but there are {len(tokens)} tokens; one of them is of another run")
    for (parts, layer), rows in n_rows.items():
        if rows != len(tokens) and not (rows < len(tokens) and may_be_trimmed(parts, layer, assembly.n_layers)):
            raise Refused(dataset(parts.split()[0], layer), f"has {rows} rows, expected {len(tokens)} as there are tokens")
    return len(tokens)


def may_be_trimmed(parts, layer, n_layers):
    stage = parts.split()[0]
    return stage in ("final_norm", "logits", "logits_final", "sample_probs", "sample_token") or (layer == n_layers - 1 and stage in MAY_BE_TRIMMED)


def _notes(assembly, tokens, list_all):
    notes = list(assembly.dump.notes)
    for what, count in assembly.told.items():
        notes.append(what if what.endswith(("left out", "softcap")) else f"{what}: {count} array{'s' if count > 1 else ''}")
    bos = (assembly.model or {}).get("bos", -1)
    if bos >= 0 and len(tokens) > 1 and tokens[0] == bos == tokens[1]:
        notes.append(f"the tokens begin with BOS ({bos}) twice; kept as they are")
    if list_all:
        notes += [f"left out: {name} ({why})" if why else f"left out: {name}" for name, why in assembly.left]
    elif assembly.left:
        first = "; ".join(f"{name} ({why})" if why else name for name, why in assembly.left[:4])
        more = f"; and {len(assembly.left) - 4} more" if len(assembly.left) > 4 else ""
        notes.append(f"left out, for no stage is known by these names (lockstep import --map FILE gives one): {first}{more}")
    notes += [f"--map: no array is called {name}" for name in sorted(assembly.mapping.unused)]
    return notes


def assemble(dump, model, mapping, target, list_all=False):
    """Writes the trace file. Returns {"notes"}."""
    assembly = Assembly(dump, model, mapping)
    assembly.place_all()
    tokens = assembly.tokens()
    special = {key: assembly.found.pop(key) for key in [("phase", None), ("n_prompt", None)] if key in assembly.found}
    chosen = assembly.choose(len(tokens))
    if not chosen:
        names = ", ".join(f"{name} ({why})" if why else name for name, why in assembly.left[:3]) or "no arrays"
        raise Refused(None, f"none of its {len(dump.entries)} arrays is a stage: {names}; name them under [names] in FILE of `lockstep import --map FILE`")
    n = _count_positions(assembly, tokens, chosen)
    assembly.found.update(special)
    phase = assembly.phase(n, chunks_of(chosen, n))
    vocab = model["vocab"] if model else 1 << 31
    if tokens.min() < 0 or tokens.max() >= vocab:
        raise Refused("tokens", f"are {tokens.min()} to {tokens.max()}, expected ids from 0 to {vocab - 1}")
    assembly.match_by_value(chosen, n)
    write_trace(target, assembly, chosen, tokens[:n], phase)
    return {"notes": _notes(assembly, tokens, list_all)}
