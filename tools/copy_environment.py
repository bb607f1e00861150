"""copy_environment.py SOURCE TARGET REQUIREMENTS: makes TARGET a Python environment that holds the packages of a requirements file, and
those that they need, as they are installed in the environment SOURCE. Needs no network. A TARGET that holds them is left as it is."""

import os
import re
import shutil
import subprocess
import sys
from importlib import metadata


def normalise(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def site_packages(environment):
    return os.path.join(environment, "lib", f"python{sys.version_info.major}.{sys.version_info.minor}", "site-packages")


def installed(folder):
    """Distributions in a site-packages folder, by normalised name."""
    return {normalise(d.metadata["Name"]): d for d in metadata.distributions(path=[folder])}


def needed(names, there):
    """The named distributions and all that they require; a requirement that is not installed is one of an extra or another system."""
    found, todo = {}, list(names)
    while todo:
        name = normalise(todo.pop())
        if name in there and name not in found:
            found[name] = there[name]
            todo += [re.match(r"[\w.-]+", r)[0] for r in there[name].requires or [] if "extra ==" not in r]
    return found


def copy(distribution, source, target):
    """The files of one distribution, but for scripts outside site-packages."""
    for file in distribution.files:
        if ".." not in file.parts and "__pycache__" not in file.parts:
            to = os.path.join(target, file)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(os.path.join(source, file), to)


def main():
    source, target, requirements = sys.argv[1:]
    with open(requirements, encoding="utf-8") as file:
        names = [line.split("==")[0].strip() for line in file if line.strip() and not line.startswith("#")]
    from_folder, to_folder = site_packages(source), site_packages(target)
    there = installed(from_folder)
    missing = [name for name in names if normalise(name) not in there]
    if missing:
        sys.exit(f"{source} does not hold {', '.join(missing)}; ./demo installs {os.path.basename(requirements)}")
    wanted = needed(names, there)
    present = installed(to_folder)
    if all(name in present and present[name].version == d.version for name, d in wanted.items()):
        return
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", target], check=True)
    for distribution in wanted.values():
        copy(distribution, from_folder, to_folder)


main()
