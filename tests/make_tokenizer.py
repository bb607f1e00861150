"""make_tokenizer.py gemma|gpt-oss FILE: a tokenizer.json of a family's type with a vocabulary under 40 words."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "golden"))

from lockstep_tokenizer import O200K_SPLIT
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors


def joined(words, merges):
    """Ids of the words, then of each merge's join; and the merges as pairs."""
    pairs = [tuple(merge.split(" ")) for merge in merges]
    return {text: i for i, text in enumerate([*words, *map("".join, pairs)])}, pairs


def gemma():
    """SentencePiece's BPE as Gemma's file has it: a space is \u2581, bytes where no word fits, bos by the post-processor."""
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>"]
    words += [f"<0x{byte:02X}>" for byte in "\u00e9\U0001f600".encode()]  # 5 to 10
    words += ["\u2581", "h", "e", "l", "o", "w"]  # 11 to 16
    vocabulary, merges = joined(words, ["h e", "l l", "he ll", "hell o", "\u2581 w", "\u2581 \u2581"])  # 17 to 22
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in words[:5]])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    tokenizer.enable_truncation(6)  # some published files have it on; a prompt must not be cut without a word
    return tokenizer


def gpt_oss():
    """Byte-level BPE behind o200k's pattern, which splits HelloWorld before the W and 1234 after the 3; no bos."""
    words = [*"HeloWrd1234", "\u0120", "'", "s", "\u00c3", "\u00a9", "<|end|>"]  # 0 to 16
    merges = ["H e", "l l", "He ll", "Hell o", "o W", "1 2", "12 3", "3 4", "' s", "\u0120 W"]  # 17 to 26
    vocabulary, pairs = joined(words, merges)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(O200K_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens([AddedToken("<|end|>", normalized=False)])
    return tokenizer


{"gemma": gemma, "gpt-oss": gpt_oss}[sys.argv[1]]().save(sys.argv[2])
