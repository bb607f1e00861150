"""Text to token ids and back, with HuggingFace tokenizers.

A folder's tokenizer.json is read as it is. A GGUF holds a vocabulary, merges and the name of its pre-tokenizer, from which
a byte-level BPE is rebuilt; a name that is not in the table is refused, for a guess would give other tokens without a word.
"""

import os

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

# llama.cpp: llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_LLAMA3; it is the pattern of Llama 3's tokenizer.json.
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CONTROL, USER_DEFINED = 3, 4  # llama.h: llama_token_type


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
}

_cache = {}


def _identity(path):
    stat = os.stat(path)
    return (path, stat.st_mtime_ns, stat.st_size)


def cached(path):
    """The tokenizer made earlier for this file, or None."""
    return _cache.get(_identity(path))


def from_json(path):
    """The tokenizer of a tokenizer.json."""
    tokenizer = Tokenizer.from_file(path)
    _cache[_identity(path)] = tokenizer
    return tokenizer


def from_gguf(path, model, pre, tokens, merges, types, bos_id):
    """The tokenizer of a GGUF. tokens and merges are lists of bytes, types a list of ints or None, bos_id < 0 for none."""
    if model != "gpt2":
        raise ValueError(f"tokenizer.ggml.model: found {model!r}, only byte-level BPE ('gpt2') can be rebuilt; use --ids")
    if pre not in PRE_TOKENIZERS:
        known = ", ".join(sorted(PRE_TOKENIZERS))
        raise ValueError(f"tokenizer.ggml.pre: found {pre!r}, known are {known}; use --ids")
    split, ignore_merges = PRE_TOKENIZERS[pre]
    texts = [_utf8("tokenizer.ggml.tokens", i, token) for i, token in enumerate(tokens)]
    vocabulary = {text: i for i, text in enumerate(texts)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=_pairs(merges, vocabulary), ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = split()
    tokenizer.decoder = decoders.ByteLevel()
    for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
        added = [texts[i] for i, t in enumerate(types or []) if t == kind]
        tokenizer.add_tokens([AddedToken(text, special=special, normalized=False) for text in added])
    if bos_id >= 0:
        bos = texts[bos_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, bos_id)]
        )
    _cache[_identity(path)] = tokenizer
    return tokenizer


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
    """The text of ids, special tokens too. A NUL would end the text in C: it is shown as its symbol."""
    return tokenizer.decode(ids, skip_special_tokens=False).replace("\0", "\u2400")
