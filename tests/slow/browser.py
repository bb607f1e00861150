"""Shows the pages in headless Chromium at two widths: browser.py PROGRAM [--twin]

No page writes to the console or loads anything, none is wider than the window, and links into its table work. The twin's page has a
script that fails and a line that does not wrap: both must be found. Exit 77 without Chromium, which is installed where apt-get may.
"""
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WIDTHS = (400, 1400)
GEMMA, LLAMA = ROOT / "golden/tiny-gemma3", ROOT / "golden/tiny-llama"


def expect(true, what):
    if not true:
        sys.exit(what)


def chromium():
    """The browser's path; installs it if this is root's machine with apt-get."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if not any(map(shutil.which, names)) and shutil.which("apt-get"):
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], capture_output=True, check=False)
    found = next(filter(None, map(shutil.which, names)), None)
    if not found:
        print("skipped: no Chromium is installed", file=sys.stderr)
        sys.exit(77)
    return found


def pages(program, folder):
    """Writes a page of each kind; returns their paths."""
    gemma, llama = ["--golden", f"{GEMMA}.h5"], ["--golden", f"{LLAMA}.h5"]
    trace = folder / "t.h5"
    subprocess.run([program, "trace", LLAMA, "--ids", "1,2,3,4", "--fault", "kv-stale", "--stages", "layer_out,logits", "-o", trace], check=True, capture_output=True)
    commands = {
        "healthy": ["diff", GEMMA, *gemma],
        "diverged": ["diff", GEMMA, *gemma, "--fault", "residual-dropped@1"],
        "decode": ["diff", LLAMA, *llama, "--fault", "kv-stale"],
        "sparse": ["audit", LLAMA, trace],
        "compare": ["compare", f"{LLAMA}.h5", f"{LLAMA}.h5"],
        "invariants": ["invariants", GEMMA, "--fault", "attention-phase"],
        "batch": ["batch", ROOT / "golden"],
    }
    for name, command in commands.items():
        subprocess.run([program, *command, "--html", folder / f"{name}.html"], check=False, capture_output=True)
    return [folder / f"{name}.html" for name in commands]


def show(browser, page, width):
    """What is said on the console, and how wide the page is, in a frame as wide as the window."""
    frame = page.parent / "frame.html"
    frame.write_text(
        f"<body><iframe src='{page.name}' style='width:{width}px;height:900px;border:0'></iframe><p id=wide></p><script>"
        "onload = () => { const page = document.querySelector('iframe').contentDocument.documentElement;"
        "document.getElementById('wide').textContent = 'wide ' + page.scrollWidth + ' links ' + page.querySelectorAll('a').length; };"
        "</script>"
    )
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--enable-logging=stderr", "--dump-dom",
         f"--window-size={width + 40},900", f"file://{frame}"],
        capture_output=True, text=True, timeout=120, check=False,
    )
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found = re.search(r"wide (\d+) links (\d+)", done.stdout)
    expect(found, f"{page.name}: the browser shows nothing: {done.stderr[-500:]}")
    return said, int(found[1])


def problems(browser, page):
    for width in WIDTHS:
        said, wide = show(browser, page, width)
        if said:
            return f"{page.name} at {width}: {said[0]}"
        if wide > width:
            return f"{page.name} at {width}: {wide} pixels wide"
    return None


def main():
    program, browser = sys.argv[1], chromium()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "--twin" in sys.argv:
            page = pages(program, folder)[0]
            text = page.read_text()
            page.write_text(text.replace("</body>", "<script>nothing.there();</script></body>"))
            expect("CONSOLE" in (problems(browser, page) or ""), "a script that fails is not found")
            page.write_text(text.replace("</body>", f"<p style='white-space: nowrap'>{'wide ' * 200}</p></body>"))
            expect("pixels wide" in (problems(browser, page) or ""), "a line that does not wrap is not found")
            return
        for page in pages(program, folder):
            found = problems(browser, page)
            expect(found is None, found)
            expect(not re.search(r"(src|href)=.?https?:", page.read_text()), f"{page.name} loads something")


if __name__ == "__main__":
    main()
