"""Checks `lockstep tokens` and --chat: check_tokens.py PROGRAM [--twin]

Thirty texts and chats, through a tokenizer of Gemma's type, one of GPT-OSS's, and SmolLM2's where its file is there: the same ids as
transformers'. A trace that ran other tokens is told where and how. The twin asks transformers for another text, and compares traces
that ran the right tokens.
"""
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy
import transformers

from asking import Failed, expect, lockstep

ROOT = Path(__file__).resolve().parents[3]
SMOLLM2 = ROOT / ".cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no role ' + m.role) }}"
    "{% endif %}{{ '<start_of_turn>' }}{{ m.role }} {{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}hello {% endif %}")
TEXTS = [
    "hello", " hello", "hello ", "hello  world  ", "The color of the sky is", "\thello\tworld", "a\nb\n\nc", "\r\n", "   ",
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "caf\u00e9", "cafe\u0301", "\u4f60\u597d\uff0c\u4e16\u754c", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8",
    "\ud55c\uad6d\uc5b4", "\u0645\u0631\u062d\u0628\u0627", "\u0928\u092e\u0938\u094d\u0924\u0947", "<bos>hello", "hello<eos>", "<start_of_turn>hello<end>",
    "<|im_start|>user\nhello<|im_end|>", "<|end|>", "12345 67", "don't we're I'LL", "HelloWorld", "x = y**2; // ok\n    return 0;",
    "\ufeffhello", "a\u00a0b\u2003c", "hello world " * 8500]
assert len(TEXTS) == 30
CHATS = [
    [{"role": "user", "content": "hello"}],
    [{"role": "user", "content": " hello "}, {"role": "assistant", "content": "hello world"}, {"role": "user", "content": "hell\u00e9"}],
]


def ids_of(program, model, *prompt):
    status, text, error = lockstep(program, "tokens", model, *prompt, "--no-transformers", "--json", "-")
    expect(status == 0, f"exit {status}: {error}")
    return [token["id"] for token in json.loads(text)["tokens"]]


def make_folder(folder, kind):
    """A tiny model with a tokenizer of a family's type and a chat template."""
    model = folder / kind
    shutil.copytree(ROOT / "golden" / {"gemma": "tiny-gemma2", "gpt-oss": "tiny-gpt-oss"}[kind], model)
    subprocess.run([sys.executable, ROOT / "tests/make_tokenizer.py", kind, model / "tokenizer.json"], check=True)
    names = {"gemma": ("<bos>", "<eos>"), "gpt-oss": ("<|end|>", "<|end|>")}[kind]
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": names[0], "eos_token": names[1], "chat_template": TEMPLATE}
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    return model, transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)


def check_same(program, model, tokenizer, folder, twin):
    for text in TEXTS:
        theirs = tokenizer(text + "hello" * twin)["input_ids"]
        if not theirs:
            continue
        ours = ids_of(program, model, "--prompt", text)
        expect(ours == theirs, f"{model.name}: {text[:40]!r}: {ours[:20]}, transformers has {theirs[:20]}")
    for messages in CHATS:
        path = folder / "chat.json"
        path.write_text(json.dumps(messages))
        theirs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        theirs = tokenizer(theirs + "hello" * twin, add_special_tokens=False)["input_ids"]
        ours = ids_of(program, model, "--chat", path)
        expect(ours == theirs, f"{model.name}: {messages}: {ours[:20]}, transformers has {theirs[:20]}")


def check_refused(program, model, folder, twin):
    """Empty text and invalid UTF-8 are usage errors; messages that cannot be read are told in a line."""
    chat = folder / "bad.json"
    for words in (["--prompt", ""], ["--prompt", b"ab\xff"], ["--prompt", b"\xed\xa0\x80"], ["--prompt", "a", "--ids", "1"], []):
        words = ["--prompt", "hello"] if twin else words
        status, _, error = lockstep(program, "tokens", model, *words, "--no-transformers")
        expect(status == 2 and error.count("\n") == 1, f"{words}: exit {status}: {error}")
    for text in ("", "{", "[]", '["hello"]', '[{"role": "judge", "content": "hello"}]', '{"messages": 3}'):
        chat.write_text('[{"role": "user", "content": "hello"}]' if twin else text)
        status, _, error = lockstep(program, "tokens", model, "--chat", chat, "--no-transformers")
        expect(status == 3 and error.count("\n") == 1 and "bad.json" in error, f"{text!r}: exit {status}: {error}")


def write_trace(path, tokens):
    with h5py.File(path, "w") as file:
        file.attrs.update(format="lockstep-trace", version=1, producer="mine", model_type="gemma2", n_layers=4)
        file["tokens"], file["phase"] = numpy.array(tokens, "i4"), numpy.zeros(len(tokens), "u1")


def check_traces(program, model, folder, twin):
    """Where and how an engine's tokens differ."""
    chat, trace = folder / "chat.json", folder / "mine.h5"
    chat.write_text(json.dumps(CHATS[1]))
    right = ids_of(program, model, "--chat", chat)
    special = right.index(4)  # <start_of_turn>
    mistakes = {
        "stands twice": right[:1] + right,
        "is missing": right[1:],
        "chat template": right[special + 3:special + 8],
        "spelled as text": right[:special] + [12, 13, 14, 15] + right[special + 1:],
    }
    for said, tokens in mistakes.items():
        write_trace(trace, right if twin else tokens)
        status, text, error = lockstep(program, "tokens", model, "--chat", chat, "--trace", trace, "--no-transformers")
        expect(status == 1 and said in " ".join(text.split()), f"{said}: exit {status}: {text[:600]}{error}")


def main():
    program, twin, failed, n_checks = sys.argv[1], "--twin" in sys.argv, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gemma, gemma_tokenizer = make_folder(folder, "gemma")
        checks = [(check_same, gemma, gemma_tokenizer, folder), (check_same, *make_folder(folder, "gpt-oss"), folder),
                  (check_refused, gemma, folder), (check_traces, gemma, folder)]
        if SMOLLM2.exists():
            tokenizer = transformers.AutoTokenizer.from_pretrained(SMOLLM2.parent, gguf_file=SMOLLM2.name, local_files_only=True)
            checks.append((check_same, SMOLLM2, tokenizer, folder))
        for check, *arguments in checks:
            n_checks += 1
            try:
                check(program, *arguments, twin)
                print(f"{check.__name__} {arguments[0].name}: holds")
            except Failed as error:
                print(f"{check.__name__} {arguments[0].name}: {error}")
                failed += 1
    return 0 if failed == (n_checks if twin else 0) else 1


sys.exit(main())
