"""What a model is given before its first layer: the chat template applied, the tokens with their texts, and what transformers makes of
the same input. Used by `lockstep tokens` and --chat."""

import importlib.util
import json
import os

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class _Generation(Extension):
    """{% generation %} marks the assistant's part for training. It changes no text."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        return jinja2.nodes.Scope(parser.parse_statements(["name:endgeneration"], drop_needle=True)).set_lineno(line)


def _raise(message):
    raise ValueError(f"the template refuses these messages: {message}")


def _now(form):
    import datetime

    return datetime.datetime.now().strftime(form)


def _compiled(template):
    """As transformers compiles it (utils/chat_template_utils.py)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    environment.filters["tojson"] = lambda value, indent=None, ensure_ascii=False, **more: json.dumps(
        value, indent=indent, ensure_ascii=ensure_ascii, **more
    )
    environment.globals.update(raise_exception=_raise, strftime_now=_now)
    return environment.from_string(template)


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def _of_folder(folder):
    """(template or None, special tokens) of a model's folder."""
    names, template = {}, None
    path = os.path.join(folder, "tokenizer_config.json")
    if os.path.isfile(path):
        config = json.loads(_read(path))
        template = config.get("chat_template")
        if isinstance(template, list):  # several, by name
            template = next((one["template"] for one in template if one["name"] == "default"), None)
        for key, value in config.items():
            if key.endswith("_token"):
                names[key] = value["content"] if isinstance(value, dict) else value
    path = os.path.join(folder, "chat_template.jinja")
    return (_read(path) if os.path.isfile(path) else template), {k: v for k, v in names.items() if isinstance(v, str)}


def messages_of(path):
    """The messages of a file, and what else it gives the template: a list, or an object with `messages` and more."""
    if not os.path.isfile(path):
        raise ValueError('is no file; expected messages in JSON: [{"role": "user", "content": "Hello"}]')
    try:
        given = json.loads(_read(path))
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}, expected JSON") from None
    more = {}
    if isinstance(given, dict):
        more = {key: value for key, value in given.items() if key != "messages"}
        given = given.get("messages")
    if not isinstance(given, list) or not given or not all(isinstance(message, dict) and "role" in message for message in given):
        raise ValueError('expected a list of messages like {"role": "user", "content": "Hello"}')
    return given, more


def chat(messages_path, folder, template, bos, eos):
    """The text that a chat is to the model. folder: of the model, "" for a GGUF, whose template, bos and eos are given instead (or "")."""
    messages, more = messages_of(messages_path)
    names = {"bos_token": bos, "eos_token": eos}
    if folder:
        template, names = _of_folder(folder)
    if not template:
        raise ValueError("the model has no chat template (chat_template.jinja, tokenizer_config.json, or tokenizer.chat_template of a GGUF)")
    try:
        return _compiled(template).render(messages=messages, **{"tools": None, "documents": None, "add_generation_prompt": True, **names, **more})
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template fails: {error}") from None


def _transformers_ids(model, is_folder, text, messages_path):
    import logging

    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    try:
        if is_folder:
            tokenizer = transformers.AutoTokenizer.from_pretrained(model, local_files_only=True)
        else:
            folder, name = os.path.split(os.path.abspath(model))
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
        if messages_path:
            messages, more = messages_of(messages_path)
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **more)
            return tokenizer(text, add_special_tokens=False)["input_ids"], transformers.__version__
        return tokenizer(text)["input_ids"], transformers.__version__
    finally:
        logging.disable(logging.NOTSET)


def _beside(model, is_folder, text, messages_path, ids):
    """What transformers makes of the same input; None: it is not installed, or was not asked."""
    if text is None and not messages_path or importlib.util.find_spec("transformers") is None:
        return None
    try:
        theirs, version = _transformers_ids(model, is_folder, text, messages_path)
    except Exception as error:  # it knows fewer files, and raises whatever it likes
        return {"error": " ".join(str(error).split())[:300]}
    first = next((i for i, (a, b) in enumerate(zip(ids, theirs)) if a != b), min(len(ids), len(theirs)))
    same = ids == theirs
    return {"version": version, "ids": theirs, "same": same, **({} if same else {"first_difference": first})}


def describe(tokenizer, ids, model, is_folder, text, messages_path, rendered, bos, ask_transformers):
    """JSON of what `lockstep tokens` prints. text, messages_path: what was given, or None. rendered: the chat as text. bos: its id, or -1."""
    special = {i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    tokens = [
        {"position": i, "id": id, "text": tokenizer.decode([id], skip_special_tokens=False), "special": id in special} for i, id in enumerate(ids)
    ]
    result = {"format": "lockstep-tokens", "version": 1, "model": model, "tokens": tokens, "n_tokens": len(ids), "bos_id": bos if bos >= 0 else None}
    result["begins_with_bos"] = bos >= 0 and ids[:1] == [bos]
    result["notes"] = _notes(tokenizer, ids, special, bos)
    if rendered is not None:
        result["text"] = rendered
    beside = _beside(model, is_folder, text, messages_path, ids) if ask_transformers else None
    if beside is not None:
        result["transformers"] = beside
    return json.dumps(result)


def _notes(tokenizer, ids, special, bos):
    notes = []
    if bos >= 0 and ids[:2] == [bos, bos]:
        notes.append("BOS stands twice: the text or the template holds it, and the tokenizer adds it")
    text = tokenizer.decode([id for id in ids if id not in special], skip_special_tokens=False)
    for id in sorted(special):
        name = tokenizer.id_to_token(id)
        if len(name) > 2 and name in text:
            notes.append(f"{name} is spelled as text, not given as token {id}")
    return notes[:8]
