#!/usr/bin/env bash
# debian.sh SUITE [COMMAND]: a fresh root of Debian SUITE (bookworm, trixie) with this tree in it. There ./demo is stopped by Ctrl-C
# at five moments; then ./demo, ./demo again and ./check must end with 0. COMMAND: what is run instead. Needs root, debootstrap
# and 6 GB under TMPDIR (/tmp); exit 77 without them.
set -euo pipefail
suite=$1
command=${2:-"tests/slow/stop_demo.sh && ./demo && ./demo && ./check"}
cd "$(dirname "$0")/../.."
if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
    echo "skipped: a fresh Debian needs root and debootstrap" >&2
    exit 77
fi

root=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-$suite.XXXXXX")
remove()
{
    for folder in dev/pts dev proc; do
        ! mountpoint -q "$root/$folder" || umount "$root/$folder" || umount --lazy "$root/$folder"
    done
    rm -rf --one-file-system "$root"
}
trap remove EXIT
chmod 755 "$root"
debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" >"$root.log" || { tail "$root.log"; exit 1; }
rm "$root.log"

# This machine's way to the network: names, certificates, mirrors and proxies.
for file in /etc/resolv.conf /etc/pip.conf /etc/ssl/certs/ca-certificates.crt /etc/apt/apt.conf.d/99*; do
    [ ! -f "$file" ] || cp --dereference "$file" "$root$file"
done
echo "deb http://deb.debian.org/debian $suite main" >"$root/etc/apt/sources.list"

mkdir "$root/lockstep"
git ls-files -z --cached --others --exclude-standard | tar --null --files-from - --ignore-failed-read -cf - | tar -xf - -C "$root/lockstep"
for folder in proc dev dev/pts; do
    mount --bind "/$folder" "$root/$folder"
done
certificates=/etc/ssl/certs/ca-certificates.crt
chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 PIP_CERT="$certificates" \
    SSL_CERT_FILE="$certificates" bash -c "cd /lockstep && $command"
