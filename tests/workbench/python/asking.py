"""What the checks of this folder share: asking the program, and expecting an answer."""
import subprocess


class Failed(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Failed(what)


def lockstep(program, *words):
    """Exit status, standard output, standard error. Words in bytes are given as they are."""
    done = subprocess.run([program, *[w if isinstance(w, bytes) else str(w) for w in words]], capture_output=True, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()
