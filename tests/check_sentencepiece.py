"""Compares the tokenizer that is rebuilt from a GGUF's scores with SentencePiece itself: check_sentencepiece.py [--twin]

Trains two small models on docs/, with and without a space in front of a text, and compares thousands of texts. Exits with 77,
which ctest shows as skipped, if sentencepiece is not installed. The twin swaps the scores of two words.
"""
import random
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "golden"))

try:
    import sentencepiece
except ModuleNotFoundError:
    print("skipped: sentencepiece is not installed (.venv/bin/pip install sentencepiece)")
    sys.exit(77)

import lockstep_tokenizer  # noqa: E402

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


def train(folder, prefix, user_defined):
    """Returns a processor, and its words, types and scores as a GGUF holds them."""
    sentencepiece.SentencePieceTrainer.train(
        input=",".join(map(str, DOCUMENTS)), model_prefix=f"{folder}/m", vocab_size=1000, model_type="bpe", byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        user_defined_symbols=user_defined, split_digits=True, allow_whitespace_only_pieces=True, minloglevel=2)
    made = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/m.model")
    words = [made.id_to_piece(i) for i in range(made.vocab_size())]
    types = [UNKNOWN if made.is_unknown(i) else CONTROL if made.is_control(i) else BYTE if made.is_byte(i)
             else USER_DEFINED if word in user_defined else 1 for i, word in enumerate(words)]
    return made, words, types, [made.get_score(i) for i in range(len(words))]


def texts(count):
    whole = "".join(document.read_text() for document in DOCUMENTS)
    rng = random.Random(1)
    for i in range(count):
        begin = rng.randrange(len(whole) - 60)
        text = whole[begin:begin + rng.randrange(1, 60)]
        if i % 3 == 0:
            text = "".join(rng.choice("abe  t\n\t\u00e9tion\U0001f600\u4e2d<>_\u25810x19") for _ in range(rng.randrange(1, 30)))
        yield "   " + text.replace(" ", "  ") + "<turn>" + text if i % 7 == 0 else text


def differing(folder, prefix, user_defined, twin):
    made, words, types, scores = train(folder, prefix, user_defined)
    if twin:
        a, b = words.index("\u2581t"), words.index("th")
        scores[a], scores[b] = scores[b], scores[a]
    tokenizer = lockstep_tokenizer.from_gguf(
        f"{folder}/m.model", "llama", "", [word.encode() for word in words], [], types, -1, scores, prefix)
    return sum(made.encode(text) != lockstep_tokenizer.encode(tokenizer, text, True) for text in texts(2000))


def main():
    twin = sys.argv[1:] == ["--twin"]
    found = []
    for prefix, user_defined in (True, []), (False, ["<turn>", "\u2581\u2581", "\n\n", "\u2581\u2581\u2581"]):
        with tempfile.TemporaryDirectory() as folder:
            found.append(differing(folder, prefix, user_defined, twin))
        print(f"{'with' if prefix else 'without'} a space before a text: {found[-1]} of 2000 texts differ", flush=True)
    sys.exit(0 if any(found) == twin else 1)


main()
