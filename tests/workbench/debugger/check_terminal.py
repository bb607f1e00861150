"""The prompt as a person sees it, on terminals of several sizes: check_terminal.py PROGRAM [--twin]

Reads the screen of a pseudo-terminal. The twin's program believes that its terminal is wider than it is: words are broken
and tables are unreadable, and the check must find that.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/support"))

from terminal import PROMPT, Terminal  # noqa: E402

MODEL, GOLDEN = "golden/tiny-gemma3", "golden/tiny-gemma3.h5"
FAULT = "softmax-sizes-swapped@1"
N_LAYERS = 6


def expect(true, what):
    if not true:
        raise SystemExit(f"check_terminal.py: {what}")


def expect_in(text, lines):
    shown = " ".join(" ".join(lines).split())
    expect(text in shown, f"expected {text!r} in:\n" + "\n".join(lines))


class Prompt(Terminal):
    def __init__(self, *options, columns=80, **settings):
        super().__init__([PROGRAM, "debug", MODEL, "--golden", GOLDEN, *options], columns, **settings)
        self.expect(PROMPT)
        self.take(0.05)


# --- No word is broken, no table unreadable -------------------------------------------------------------------------------

LINES = ["until diverge", "where", "back layer 0", "step layer 1", "step 3", "diff", "diff attn_out", "diff attn_out@1",
         "print attn_out@1 0", "stats attn_out@1", "list", "audit attn_out@1", "diagnose", "continue", "logits", "logits of id:7",
         "info plan", "info model", "info device", "info memory", "show", "faults", "help", "help step", "plot attn_out",
         "plot attn_out ratio", "print ffn_dwn", "set nothing 3", "py engine['attn_out', 1][0]"]
WIDE = 400


def words_of(lines):
    """Words, and their parts where a line may end: behind | / and commas."""
    return {part for line in lines for word in line.split() for part in re.findall(r"[^|/,]*[|/,]|[^|/,]+", word)} | {
        word for line in lines for word in line.split()}


def is_whole(word, words):
    """Whether a word of a narrow terminal was not broken: it is one, or parts of one that may stand alone."""
    return word in words or all(part in words for part in re.findall(r"[^|/,]*[|/,]|[^|/,]+", word))


def cells_of_tables(lines, names):
    """{name: its cells} of all rows of tables that begin with one of the names; blocks of one table are joined."""
    rows = {}
    for line in lines:
        words = line.split()
        if words and words[0] in names and line.startswith("  "):
            rows.setdefault(words[0], []).extend(word for word in words[1:] if word not in ("<--", "introduced", "by", "engine"))
    return rows


def shown_at(columns, **settings):
    """{line: what the screen shows of it} of a session on a terminal of that width."""
    prompt = Prompt("--fault", FAULT, columns=columns, **settings)
    banner = prompt.lines()[: prompt.n_lines() - 1]
    shown = {"": banner, **{line: prompt.shown_by(line) for line in LINES}}
    prompt.type("quit\r")
    expect(prompt.end() == 0, "quit: the exit status is not 0")
    return shown


def check_width(columns, wide, **settings):
    narrow = shown_at(columns, **settings)
    for line, shown in narrow.items():
        words = words_of(wide[line]) | {"engine-", "reference-", "golden"}
        if not line.startswith(("plot", "py", "list")):  # pictures and arrays have other rows, list goes on from where it was
            for row in shown:
                broken = [word for word in row.split() if not is_whole(word, words)]
                expect(not broken, f"{columns} columns, {line}: broken words {broken} in {row!r}")
        expect(all(len(row) <= columns for row in shown), f"{columns} columns, {line}: a longer line")
    stages = {row.split()[0] for row in wide["step layer 1"] if "." in row and row.split()[0].islower() and len(row.split()) == 9}
    for line in ("step layer 1", "diff"):
        there, wanted = cells_of_tables(narrow[line], stages), cells_of_tables(wide[line], stages)
        expect(len(wanted) > 15 and there == wanted, f"{columns} columns, {line}: other cells than at {WIDE} columns")
    for line in ("step layer 1", "diff", "diff attn_out"):  # each block has a heading, and its cells stand below it
        for heading in (row for row in narrow[line] if row.split()[:1] in (["stage"], ["layer"]) and "," not in row):
            ends = [m.end() for m in re.finditer(r"\S+", heading)]
            at = narrow[line].index(heading)
            row = narrow[line][at + 1]
            expect(len(row) <= max(len(heading), 1) + 30 and len(ends) >= 2, f"{columns} columns, {line}: no table:\n{heading}\n{row}")
    plot = [row for row in narrow["plot attn_out"] if row.startswith("layer")]
    expect(len(plot) == N_LAYERS, f"{columns} columns: the plot has {len(plot)} rows")
    arrays = narrow["py engine['attn_out', 1][0]"]
    expect(max(map(len, arrays)) > columns - 20, f"{columns} columns: numpy's arrays do not use the width")


def check_widths():
    wide = shown_at(WIDE)
    for columns in (60, 80, 120):
        check_width(columns, wide)
    prompt = Prompt("--on", "reference", columns=120)
    prompt.shown_by("set width 50")
    for line in ("step layer 1", "help move", "py golden['attn_out', 1][0]", "nonsense"):
        widest = max(map(len, prompt.shown_by(line)))
        expect(widest <= 50, f"set width 50, {line}: {widest} columns")
    prompt.type("quit\r")
    prompt.end()
    # Commands of the shell: tables of reports.
    for command in (["diff", MODEL, "--golden", GOLDEN, "--on", "reference", "--table", "--ledger"],
                    ["info", MODEL], ["devices"], ["faults"], ["faults", "kv-stale"], ["diff", "--help"], ["help"]):
        whole = words_of(screen_of(command, WIDE)) | {"engine-", "reference-", "golden-", "stages", "reference-ratio", "reference-vs", "golden-ratio"}
        for columns in (60, 80):
            for row in screen_of(command, columns):
                broken = [word for word in row.split() if not is_whole(word, whole)]
                expect(not broken, f"{columns} columns, {command}: broken words {broken} in {row!r}")


def screen_of(command, columns, **settings):
    terminal = Terminal([PROGRAM, *command], columns, **settings)
    terminal.end()
    return [line for line in terminal.lines() if line]


# --- Commands, aliases, completion ------------------------------------------------------------------------------------------

# What to type to try a command, in this order, and what then shows.
TRIES = {
    "run": ("run 1", "positions 0-9 (prefill)"), "step": ("step", "outside the layers"), "next": ("next", "attn_norm"),
    "back": ("back", "next is"), "goto": ("goto 3", "next is layer 4 attn_norm"), "break": ("break 4.ffn_down", "breakpoint 1"),
    "until": ("until diverge", "parity"), "continue": ("continue", ""), "delete": ("delete", "1 removed"), "where": ("where", "tokens"),
    "list": ("list", "ran"), "restart": ("restart", "before position 0"), "print": ("print embed 0 0 from golden", "golden"),
    "stats": ("stats embed", "embed"), "diff": ("diff", ""), "first": ("first", "nothing ran yet"),
    "audit": ("audit", ""), "assert": ("assert parity", ""), "diagnose": ("diagnose", "nothing ran yet"),
    "logits": ("logits 2", ""), "probe": ('probe add {"stage": "embed"}', ""), "probes": ("probes", "embed"),
    "trace": ("trace none", ""), "log": ("log info", ""), "dump": ("dump {folder}/d.h5", ""),
    "load": (f"load golden {GOLDEN}", "golden"), "patch": ("patch embed from golden", ""), "unpatch": ("unpatch", ""),
    "fault": ("fault on kv-stale", "no engine"), "faults": ("faults kv-stale", "Decode uses"),
    "reload": ("reload shaders", "no engine"), "watch": ("watch shaders 1", "no engine"), "set": ("set decode 3", ""),
    "show": ("show", "decode"), "plot": ("plot embed", ""), "info": ("info model", "hidden 72"), "py": ("py 6*7", "42"),
    "source": ("source /nonexistent", "cannot be read"), "help": ("help where", "Show the position"), "quit": ("quit", None),
}
ALIASES = {"s": "step", "n": "next", "b 3.ffn_down": "break", "p embed 0 0 from golden": "print", "bt": "where",
           "backtrace": "where", "c": "continue", "u diverge": "until", "r 1": "run", "l": "list", "d": "delete", "finish": "next"}

# A line, and what Tab offers for its last word; the model has 6 layers and no experts.
LAYERS = [str(layer) for layer in range(N_LAYERS)]
COMPLETIONS = {
    "": sorted(TRIES), "st": ["stats", "step"], "step ": ["layer", "op", "token"], "step layer ": LAYERS,
    "back ": ["layer", "op", "token"], "back layer ": LAYERS, "goto 5.attn": ["5.attn_norm", "5.attn_out", "5.attn_resid"],
    "goto ": [f"{layer}." for layer in range(N_LAYERS)], "break 2.q": ["2.q_norm", "2.q_proj", "2.q_rope"],
    "break 2.q_proj ": ["if"], "break 2.q_proj if ": ["maxabs>", "nan", "ratio>"], "until ": ["diverge"],
    "restart ": ["--chat", "--ids", "--prompt", "-n"], "print k": ["k_norm", "k_proj", "k_rope"], "print rou": [],
    "print k_norm@": [f"k_norm@{layer}" for layer in range(N_LAYERS)], "print embed 0 0 from g": ["golden"],
    "print embed 0 0 from ": ["engine", "golden", "reference"], "stats fin": ["final_norm"], "diff emb": ["embed"],
    "audit emb": ["embed"], "assert p": ["parity", "post_attn_norm", "post_ffn_norm"], "assert embed ": ["ratio"],
    "logits ": ["of"], "probe ": ["add", "load"], "trace a": ["all", "attn"], "log ": ["info", "silent", "verbose"],
    "dump /x emb": ["embed"], "load ": ["golden", "hf"], "patch embed ": ["from", "scale"], "unpatch q": ["q_norm", "q_proj", "q_rope"],
    "fault ": ["off", "on"], "fault on kv-": None, "faults kv-": None, "reload ": ["shaders"], "watch ": ["shaders"],
    "set ": ["decode", "device", "errors", "fuse", "kernel", "layers", "pager", "preset", "shaders", "width"],
    "set preset ": ["bench", "debug", "gemma2-debug"], "set pager ": ["off", "on"], "set fuse ": ["off", "on"],
    "set errors ": ["continue", "stop"], "set preset bench ": [], "until diverge ": [], "set layers ": LAYERS, "set kernel k": ["k_norm", "k_proj", "k_rope"],
    "plot embed ": ["difference", "ratio"], "info ": ["breakpoints", "device", "memory", "model", "plan"],
    "help wh": ["where"], "help ju": ["judge"], "help l": ["list", "load", "log", "logits", "look"], "source golden/tiny-gemma3.h": ["golden/tiny-gemma3.h5"],
}


def offered(prompt, line):
    """What Tab shows for the line's end: the list of words; or, where one fits, the word that it completes."""
    word = line.rsplit(" ", 1)[-1]
    prompt.take(0.01)
    top = prompt.n_lines()
    prompt.type(line + "\t")
    prompt.take(0.5)
    prompt.take(0.03)
    text = prompt.lines(top - 1)[0][len(PROMPT) :]
    completed = text.rsplit(" ", 1)[-1]
    unique = len(text) > len(line) and prompt.screen.cursor.x > len(PROMPT) + len(text)  # a blank was added
    if not unique:
        prompt.type("\t\t")
        prompt.take(0.5)
        prompt.take(0.03)
    rows = [row for row in prompt.lines(top) if not row.startswith(PROMPT.strip())]
    words = sorted({text for row in rows for text in row.split()})
    prompt.type("\x15\r")  # an empty line: nothing runs
    prompt.take(0.5)
    return words or ([completed] if len(text) > len(line) else [])


def check_commands(folder):
    listed = subprocess.run([PROGRAM, "debug", MODEL, "--ids", "1", "--on", "reference"], input="help\n", text=True,
                            capture_output=True, check=True).stdout
    commands = re.findall(r"^  ([a-z]+)(?: .*)?$", listed, re.MULTILINE)
    expect(set(TRIES) <= set(commands), f"help does not list {set(TRIES) - set(commands)}")
    prompt = Prompt("--on", "reference", columns=120)
    for command in [*TRIES, *(name for name in commands if name not in TRIES)]:
        line, shows = TRIES.get(command, (command, ""))
        expect_in(command, prompt.shown_by(f"help {command}"))
        expect(prompt.shown_by(f"help {command}") == prompt.shown_by(f"{command} --help"), f"{command} --help is not help {command}")
        if shows is not None:
            expect_in(shows, prompt.shown_by(line.replace("{folder}", folder)))
    for topic in ("move", "look", "judge", "change", "record", "rest"):
        expect_in(f"{topic}: ", prompt.shown_by(f"help {topic}"))
    for alias, command in ALIASES.items():
        expect(prompt.shown_by(f"help {alias.split()[0]}") == prompt.shown_by(f"help {command}"), f"{alias} is not {command}")
        expect(not any("lockstep:" in row for row in prompt.shown_by(alias)) or command in ("continue", "until"),
               f"{alias} fails")
    for line, words in COMPLETIONS.items():
        there = offered(prompt, line)
        if words is None:
            expect("kv-stale" in FAULTS, "faults does not list kv-stale")
            words = sorted(re.findall(r"^(kv-\S+)", FAULTS, re.MULTILINE))
        wanted = words if line else sorted(commands)
        expect(there == wanted or (not line and set(wanted) <= set(there)), f"Tab behind {line!r} offers {there}, expected {wanted}")
    for end in ("quit", "q", "exit", "\x04"):
        prompt = prompt if end == "quit" else Prompt("--on", "reference")
        prompt.type(end if end == "\x04" else end + "\r")
        expect(prompt.end() == 0, f"{end}: the exit status is not 0")


# A misspelling at the prompt, and what it should have been.
MISSPELT = {
    "stpe": "step", "setp": "step", "contineu": "continue", "pritn embed": "print", "statss embed": "stats", "dif": None,
    "frist": "first", "audti": "audit", "asert parity": "assert", "diagnos": None, "logist": "logits", "probez": "probes",
    "tarce all": "trace", "dmup x": "dump", "laod golden x": "load", "pacth embed": "patch", "unptach": "unpatch",
    "fualts": "faults", "relaod shaders": "reload", "wacht shaders": "watch", "shwo": "show", "plto embed": "plot",
    "inof model": "info", "soruce x": "source", "hlep": "help", "quti": "quit", "gotto 3": "goto", "braek 3": "break",
    "delte 1": "delete", "wheer": "where", "restrat": "restart",
    "print ffn_dwn": "ffn_down", "print layerout": "layer_out", "goto 3.attn_otu": "attn_out", "step laeyr 2": "layer",
    "back tokne": "token", "until divrege": "diverge", "info modle": "model", "set wdith 80": "width", "set presett bench": "preset",
    "set preset bnech": "bench", "log verbsoe": "verbose", "trace atn": "attn", "faults kv-stael": "kv-stale",
    "print embed 0 0 from glden": "golden", 'probe add {"stag": "embed"}': "stage", 'probe add {"stage": "embd"}': "embed",
    "reload shadres": "shaders", "set pager fof": None,
}
# The same on the command line.
MISSPELT_COMMANDS = {
    ("dif", MODEL): "diff", ("adiut", MODEL): "audit", ("compaer",): "compare", ("devcies",): "devices",
    ("diff", MODEL, "--goldn", GOLDEN): "--golden", ("diff", MODEL, "--jsno", "-"): "--json", ("debug", MODEL, "--promt", "x"): "--prompt",
    ("faults", "softmax-sizes-swaped"): "softmax-sizes-swapped", ("help", "invariant"): "invariants",
    ("trace", MODEL, "--ids", "1", "--on", "reference", "--stages", "layer_ot", "-o", "/dev/null"): "layer_out",
    ("run", MODEL, "--ids", "1", "--on", "reference", "--preset", "debgu"): "debug",
    ("run", MODEL, "--ids", "1", "--on", "refrence"): "reference",
}


def check_misspellings():
    prompt = Prompt("--on", "reference", columns=120)
    n = 0
    for line, meant in MISSPELT.items():
        if meant is not None:
            expect_in(f"did you mean {meant}?", prompt.shown_by(line))
            n += 1
    for line in ("xyzzy", "print zzzzzzzz", "set q 3"):  # nothing is alike: nothing is suggested
        expect(not any("did you mean" in row for row in prompt.shown_by(line)), f"{line}: a suggestion")
    for command, meant in MISSPELT_COMMANDS.items():
        done = subprocess.run([PROGRAM, *command], text=True, capture_output=True, cwd=ROOT)
        expect(done.returncode in (2, 3) and f"did you mean {meant}?" in done.stderr, f"{command}: {done.stderr}")
        expect(done.stderr.count("\n") == 1, f"{command}: more than one line")
        n += 1
    expect(n >= 40, f"only {n} misspellings")
    prompt.type("q\r")
    prompt.end()


# --- Hands ------------------------------------------------------------------------------------------------------------------


def check_hands(folder):
    prompt = Prompt("--on", "reference")
    banner = prompt.lines()
    for text in (f"model {MODEL}: gemma3_text, 6 layers", "device none: the reference alone runs", f"golden {GOLDEN}, by transformers",
                 "tokens 10 of the prompt, 6 to decode", "first until diverge"):
        expect_in(text, banner)
    expect(not any(row.strip() for row in prompt.shown_by("")), "an empty line runs something before anything ran")
    expect_in("attn_norm", prompt.shown_by("next") and prompt.shown_by(""))  # embed and layer 0; layer 1
    expect_in("next is layer 2 attn_norm", prompt.shown_by("where"))
    prompt.shown_by("")  # where is not repeated
    expect_in("next is layer 2 attn_norm", prompt.shown_by("where"))
    expect_in("next is layer 2 q_proj", prompt.shown_by("s") and prompt.shown_by("bt"))
    first, second = prompt.shown_by("list 4"), prompt.shown_by("")
    expect(len(first) == len(second) == 4 and not set(first) & set(second), f"list goes on with {second}")
    expect_in("next is layer 5 attn_norm", prompt.shown_by("goto 4"))
    prompt.shown_by("nonsense")
    expect(not any(row.strip() for row in prompt.shown_by("")), "an empty line repeats what failed")
    # Ctrl-C in a search in the history: the search is left, and the program goes on.
    prompt.type("\x12goto")
    prompt.expect("reverse-i-search")
    prompt.take(0.1)
    prompt.type("\x03")
    prompt.take(0.5)
    prompt.type("where\r")
    prompt.expect("next is layer 5 attn_norm")
    prompt.expect(PROMPT)
    for _ in range(4):
        prompt.type("\x12x\x03")
        prompt.take(0.4)
    expect_in("next is layer 5", prompt.shown_by("where"))
    # Lines for grep come behind the line that says where the position is.
    prompt.shown_by('probe add {"id": "p", "stage": "layer_out", "dims": [3]}')
    shown = prompt.shown_by("step layer 5")
    heading = next(i for i, row in enumerate(shown) if row.startswith("layer 5"))
    probes = [i for i, row in enumerate(shown) if row.startswith("PROBE")]
    expect(len(probes) == 10 and min(probes) > heading, "PROBE lines stand before the position")
    shown = prompt.shown_by("run 2")
    positions = [i for i, row in enumerate(shown) if row.startswith("position")]
    expect(min(i for i, row in enumerate(shown) if row.startswith("PROBE")) > positions[0], "PROBE lines before positions")
    expect_in("unknown key \"layer\", expected one of: id, stage, layers, tokens, dims",
              prompt.shown_by('probe add {"stage": "embed", "layer": 3}'))
    prompt.type("q\r")
    prompt.end()


def check_logits(folder):
    """With a tokenizer that has " w" and "w" as tokens: who asks for one is told of the other."""
    model = Path(folder, "model")
    model.mkdir()
    for file in Path(ROOT, MODEL).iterdir():
        (model / file.name).symlink_to(file)
    subprocess.run([sys.executable, "tests/make_tokenizer.py", "gemma", str(model / "tokenizer.json")], check=True, cwd=ROOT)
    prompt = Terminal([PROGRAM, "debug", str(model), "--golden", GOLDEN, "--on", "reference"])
    prompt.expect(PROMPT)
    prompt.shown_by("run 1")
    expect_in('" w", with a blank before it, is another token: 21', prompt.shown_by("logits of w"))
    for line in ('logits of " w"', "logits of id:16", "logits of h"):
        expect(not any("another token" in row for row in prompt.shown_by(line)), f"{line}: another token")
    prompt.type("q\r")
    prompt.end()


def check_plots():
    prompt = Prompt("--fault", FAULT)
    prompt.shown_by("goto 1.attn_out")
    rows = [row for row in prompt.shown_by("plot attn_out") if row.startswith("layer ")]
    expect(all("·" not in row for row in rows[:2]) and all(set(row[10:]) == {"·"} for row in rows[2:]), f"not run: {rows}")
    ratio = [row for row in prompt.shown_by("plot attn_out ratio") if row.startswith("layer ")]
    expect("█" in ratio[1] and "█" not in ratio[0], f"ratio: {ratio}")
    shown = prompt.shown_by("plot attn_out difference")
    expect_in("engine - golden", shown)
    expect("█" in next(row for row in shown if row.startswith("layer   1")), f"difference: {shown}")
    expect_in("audit ratio of engine, token by dim", prompt.shown_by("plot attn_out@1 ratio"))
    prompt.shown_by("patch q_proj@1 scale inf")
    prompt.shown_by("goto 1.q_proj")
    rows = [row for row in prompt.shown_by("plot q_proj") if row.startswith("layer ")]
    expect(set(rows[1][10:]) == {"!"} and set(rows[2][10:]) == {"·"}, f"nonfinite, and not run: {rows}")
    prompt.type("q\r")
    prompt.end()


def check_output(folder):
    escape = "\x1b["
    prompt = Prompt("--fault", FAULT)
    prompt.shown_by("until diverge")
    expect(b"\x1b[1;31mdiverged" in prompt.bytes, "no colour on a terminal")
    prompt.type("q\r")
    prompt.end()
    for settings in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        prompt = Prompt("--fault", FAULT, **settings)
        prompt.shown_by("until diverge")
        expect(b"m" not in re.findall(rb"\x1b\[[0-9;]*([a-zA-Z])", prompt.bytes), f"colour with {settings}")
        prompt.type("q\r")
        prompt.end()
    piped = subprocess.run([PROGRAM, "debug", MODEL, "--golden", GOLDEN, "--fault", FAULT], input="until diverge\nhelp\n", text=True,
                           capture_output=True, cwd=ROOT, env={**os.environ, "TERM": "xterm", "PAGER": "sed s/^/PAGED/"})
    expect(escape not in piped.stdout and "PAGED" not in piped.stdout, "colour or pages in a pipe")
    # The pager: for what does not fit, on a terminal, unless it is off.
    prompt = Prompt("--on", "reference", PAGER="sed s/^/PAGED/")
    expect(prompt.shown_by("help")[0].startswith("PAGED"), "help is not paged")
    expect(not any("PAGED" in row for row in prompt.shown_by("where")), "a short output is paged")
    prompt.shown_by("set pager off")
    expect(not any("PAGED" in row for row in prompt.shown_by("help")), "paged with set pager off")
    prompt.type("q\r")
    prompt.end()
    script = Path(folder, "script")
    script.write_text("help\n")
    terminal = Terminal([PROGRAM, "debug", MODEL, "--golden", GOLDEN, "--on", "reference", "-x", str(script)], PAGER="sed s/^/PAGED/")
    terminal.end()
    expect(b"PAGED" not in terminal.bytes, "a script is paged")
    expect(screen_of(["faults"], 80, PAGER="sed s/^/PAGED/")[0].startswith("PAGED"), "faults is not paged")
    prompt = Prompt("--on", "reference", PAGER="/nonexistent/pager")
    expect_in("move: move the position", prompt.shown_by("help"))
    prompt.type("q\r")
    prompt.end()
    # A name that would drive the terminal.
    hostile = Path(folder, "a\x1b[31m\u009b31mb.h5")
    hostile.write_bytes(Path(ROOT, GOLDEN).read_bytes())
    other = Path(folder, "short\x1b]0;title\x07.h5")
    for command in (["compare", str(hostile), "golden/tiny-gemma3-105.h5"], ["diff", MODEL, "--golden", str(hostile), "--on", "reference"],
                    ["audit", MODEL, str(hostile)], ["invariants", MODEL, "--trace", str(hostile), "--trace", str(hostile)]):
        terminal = Terminal([PROGRAM, *command], NO_COLOR="1")
        terminal.end()
        seen = re.sub(rb"\r[^\r\n]*\x1b\[K", b"", terminal.bytes)  # without the line of progress
        expect(b"\x1b" not in seen and b"\x07" not in seen and "\u009b".encode() not in seen, f"{command[0]}: {seen!r}")
        piped = subprocess.run([PROGRAM, *command], capture_output=True, cwd=ROOT)
        expect(b"\x1b" not in piped.stdout + piped.stderr, f"{command[0]} through a pipe")
    expect(not other.exists(), "")


def check_python(folder):
    prompt = Prompt("--on", "reference")
    prompt.shown_by("step")
    prompt.shown_by("py import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()")
    prompt.type("q\r")
    expect(prompt.end() == 0, "a thread that py left: the exit status")


PROGRAM = sys.argv[1]
os.chdir(ROOT)
os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="passive")
FAULTS = subprocess.run([PROGRAM, "faults"], capture_output=True, text=True, check=True).stdout
with tempfile.TemporaryDirectory() as state:
    os.environ["XDG_STATE_HOME"] = state
    if sys.argv[2:] == ["--twin"]:
        try:
            check_width(60, shown_at(WIDE), COLUMNS="200")
        except SystemExit as found:
            expect("broken words" in str(found), f"the twin fails for another reason: {found}")
            sys.exit(0)
        sys.exit("check_terminal.py: words that a terminal broke are not found")
    for check in sys.argv[2:] or ["widths", "commands", "misspellings", "hands", "logits", "plots", "output", "python"]:
        function = globals()[f"check_{check}"]
        function(state) if check in ("commands", "hands", "logits", "output", "python") else function()
