"""Text to token ids and back, with HuggingFace tokenizers.

A folder has a tokenizer.json, which is read unchanged. A GGUF holds a vocabulary. For byte-level BPE ("gpt2") it also holds
merges and the name of its pre-tokenizer. An unknown name is refused: a guess could give wrong tokens in silence. For
SentencePiece ("llama") it holds scores, from which merges are derived.
"""

import os
import re

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

# Source: llama.cpp, llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_LLAMA3. The same as in Llama 3's tokenizer.json.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Source: llama.cpp, LLAMA_VOCAB_PRE_TYPE_GPT4O. The same as in GPT-OSS's tokenizer.json (o200k).
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
O200K_SPLIT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_SUFFIX}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6  # llama.h: llama_token_type


def _byte_level(use_regex):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


# tokenizer.ggml.pre: (how a text is split before BPE, whether a word of the vocabulary is taken whole)
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
    """The cached tokenizer of this file, or None."""
    return _cache.get(_identity(path))


def from_json(path):
    """The tokenizer of a tokenizer.json. Truncation and padding, which the file may set for training, are turned off."""
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _cache[_identity(path)] = tokenizer
    return tokenizer


def from_gguf(path, model, pre, tokens, merges, types, bos_id, scores, space_prefix):
    """The tokenizer of a GGUF. tokens, merges: lists of bytes. types: list of ints. scores: list of floats. Each may be None.
    bos_id: below 0 for none. space_prefix: a space is put in front of a text."""
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
        # A user-defined word of SentencePiece can contain spaces; in the normalised text they are \u2581.
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
    """SentencePiece's BPE: joins the neighbours whose word has the highest score. A character that is not in the vocabulary
    becomes its bytes. Source: llama.cpp, llama-vocab.cpp, llm_tokenizer_spm; transformers, generate_merges."""
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
    # The first word keeps its space, because most decoded ids continue a text.
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def _merges_of_scores(texts, scores, types):
    """All pairs of words that make a word, by falling score."""
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
    """The ids of a text. special: with the tokens that the tokenizer adds, such as bos."""
    return tokenizer.encode(text, add_special_tokens=special).ids


def decode(tokenizer, ids):
    """The text of ids, with special tokens. A NUL would end the text in C, so it is shown as its symbol.

    With byte fallback, one incomplete character would make the decoder drop a whole run of bytes. So an incomplete character at
    the end is decoded apart, and becomes U+FFFD."""
    whole = len(ids) - _broken_tail(tokenizer, ids)
    text = tokenizer.decode(ids[:whole], skip_special_tokens=False) + "\ufffd" * (whole < len(ids))
    return text.replace("\0", "\u2400")


def _broken_tail(tokenizer, ids):
    """The number of ids at the end that are bytes of an incomplete character."""
    if not getattr(tokenizer.model, "byte_fallback", False):
        return 0
    tail = []
    for id in reversed(ids[-3:]):
        match = BYTE_TOKEN.fullmatch(tokenizer.id_to_token(id) or "")
        if not match:
            return 0
        tail.append(int(match[1], 16))
        if tail[-1] >= 0xC0:  # a first byte; the number of its leading ones is the length of the character
            length = 2 + (tail[-1] >= 0xE0) + (tail[-1] >= 0xF0)
            return len(tail) if len(tail) < length else 0
        if tail[-1] < 0x80:
            return 0
    return 0
