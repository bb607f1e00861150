"""Text to token ids and back, with HuggingFace tokenizers.

A folder's tokenizer.json is read as it is. A GGUF holds a vocabulary and, for a byte-level BPE ("gpt2"), merges and the name
of its pre-tokenizer; a name that is not in the table is refused, for a guess would give other tokens without a word. For
SentencePiece ("llama") it holds scores, from which merges are derived.
"""

import os
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

# llama.cpp: llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_LLAMA3; it is the pattern of Llama 3's tokenizer.json.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# llama.cpp: LLAMA_VOCAB_PRE_TYPE_GPT4O; it is the pattern of GPT-OSS's tokenizer.json (o200k).
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K_SPLIT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SUFFIX}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # llama.h: llama_token_type


def _byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


# tokenizer.ggml.pre: (how a text is split before BPE, whether a word that is in the vocabulary is taken whole)
PRE_TOKENIZERS = {
    "smollm": (lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level(True)]), False),
    "gpt-2": (lambda: _byte_level(True), False),
    "llama-bpe": (
        lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"), _byte_level(False)]),
        True,
    ),
    "gpt-4o": (
        lambda: pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(O200K_SPLIT), "isolated"), _byte_level(False)]),
        False,
    ),
}

BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")

_cache = {}


def _identity(path):
    stat = os.stat(path)
    return (path, stat.st_mtime_ns, stat.st_size)


def cached(path):
    """The tokenizer made earlier for this file, or None."""
    return _cache.get(_identity(path))


def from_json(path):
    """The tokenizer of a tokenizer.json. A length that the file cuts or fills texts to was its trainer's, and is not kept."""
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _cache[_identity(path)] = tokenizer
    return tokenizer


def from_gguf(path, model, pre, tokens, merges, types, bos_id, scores, space_prefix):
    """The tokenizer of a GGUF. tokens and merges are lists of bytes, types a list of ints and scores of floats, or None each,
    bos_id < 0 for none; space_prefix: a text begins with a space of its own."""
    if model not in ("gpt2", "llama"):
        known = "byte-level BPE ('gpt2') and SentencePiece's BPE ('llama')"
        raise ValueError(f"tokenizer.ggml.model: found {model!r}, only {known} can be rebuilt; use --ids")
    texts = [_utf8("tokenizer.ggml.tokens", i, token) for i, token in enumerate(tokens)]
    types = types or [1] * len(texts)
    if model == "gpt2":
        tokenizer = _byte_level_bpe(pre, texts, merges)
    else:
        tokenizer = _sentencepiece(texts, scores, types, space_prefix)
    for kind, special in ((UNKNOWN, True), (CONTROL, True), (USER_DEFINED, False)):
        added = [texts[i] for i, t in enumerate(types) if t == kind]
        # A user's word of SentencePiece can have spaces, which are looked for where they are \u2581 already.
        normalized = model == "llama" and not special and not space_prefix
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=normalized) for text in added])
    if bos_id >= 0:
        bos = texts[bos_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, bos_id)]
        )
    _cache[_identity(path)] = tokenizer
    return tokenizer


def _byte_level_bpe(pre, texts, merges):
    if pre not in PRE_TOKENIZERS:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise ValueError(f"tokenizer.ggml.pre: found {pre!r}, known are {known}; use --ids")
    split, ignore_merges = PRE_TOKENIZERS[pre]
    vocabulary = {text: i for i, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_pairs(merges, vocabulary), ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = split()
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _sentencepiece(texts, scores, types, space_prefix):
    """SentencePiece's BPE joins the pair of neighbours whose word has the highest score; a character that is no word becomes
    its bytes. Source: llama.cpp, llama-vocab.cpp, llm_tokenizer_spm; transformers, generate_merges."""
    if scores is None:
        raise ValueError("tokenizer.ggml.scores: missing, expected a score for each of tokenizer.ggml.tokens; use --ids")
    if not all(score == score for score in scores):
        raise ValueError("tokenizer.ggml.scores: found NaN, expected numbers")
    vocabulary = {text: i for i, text in enumerate(texts)}
    unknown = next((texts[i] for i, t in enumerate(types) if t == UNKNOWN), None)
    merges = _merges_of_scores(texts, scores, types)
    bytes_known = BYTE in types
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token=unknown, fuse_unk=True, byte_fallback=bytes_known)
    )
    prefix = [normalizers.Prepend("\u2581")] if space_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*prefix, normalizers.Replace(" ", "\u2581")])
    # The first word keeps its space: what is decoded here is the end of a text more often than its beginning.
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _merges_of_scores(texts, scores, types):
    """Every way to make a word of two words, by falling score."""
    words = {text for text, kind in zip(texts, types) if kind not in (UNKNOWN, CONTROL, BYTE)}
    merges = [
        (-score, text[:i], text[i:])
        for text, score in zip(texts, scores)
        if text in words
        for i in range(1, len(text))
        if text[:i] in words and text[i:] in words
    ]
    merges.sort(key=lambda merge: merge[0])
    return [(left, right) for _, left, right in merges]


def _utf8(field, index, text):
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{field}: entry {index} is not UTF-8 ({error.reason})") from None


def _pairs(merges, vocabulary):
    pairs = []
    for i, merge in enumerate(merges):
        pair = tuple(_utf8("tokenizer.ggml.merges", i, merge).split(" "))
        if len(pair) != 2 or not all(part in vocabulary for part in (*pair, "".join(pair))):
            raise ValueError(f"tokenizer.ggml.merges: entry {i} is {merge!r}, expected two tokens whose join is a token")
        pairs.append(pair)
    return pairs


def encode(tokenizer, text, special):
    """Ids of a text; special: with the tokens that the tokenizer adds by itself, such as bos."""
    return tokenizer.encode(text, add_special_tokens=special).ids


def decode(tokenizer, ids):
    """The text of ids, special tokens too. A NUL would end the text in C: it is shown as its symbol.

    Where a word can be a single byte (byte fallback), the decoder gives up a whole run of bytes for one that is not whole:
    the first bytes of a character at the end are kept out of it, and are U+FFFD as elsewhere."""
    whole = len(ids) - _broken_tail(tokenizer, ids)
    text = tokenizer.decode(ids[:whole], skip_special_tokens=False) + "\ufffd" * (whole < len(ids))
    return text.replace("\0", "\u2400")


def _broken_tail(tokenizer, ids):
    """How many ids at the end are the first bytes of a character that is not complete."""
    if not getattr(tokenizer.model, "byte_fallback", False):
        return 0
    tail = []
    for id in reversed(ids[-3:]):
        match = BYTE_TOKEN.fullmatch(tokenizer.id_to_token(id) or "")
        if not match:
            return 0
        tail.append(int(match[1], 16))
        if tail[-1] >= 0xC0:  # a first byte; its upper ones say how many there are
            length = 2 + (tail[-1] >= 0xE0) + (tail[-1] >= 0xF0)
            return len(tail) if len(tail) < length else 0
        if tail[-1] < 0x80:
            return 0
    return 0
