#!/bin/sh
# Makes an archive of one layer: pack.sh ROOT ARCHIVE IMAGE <CONFIG, where CONFIG is the image's configuration in JSON (User, Env,
# Entrypoint ...). docker, podman and containerd load it; the same root gives the same bytes.
set -eu
root=$1 archive=$2 image=$3
config=$(cat)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
reproducible="--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner"
# shellcheck disable=SC2086 # a list of options
tar -C "$root" $reproducible -cf layer.tar .
layer=$(sha256sum <layer.tar | cut -d' ' -f1)
cat >config.json <<JSON
{"architecture":"$(dpkg --print-architecture)","os":"linux","created":"1970-01-01T00:00:00Z","config":$config,
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]}}
JSON
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]\n' "$image" >manifest.json
mkdir -p "$(dirname "$archive")"
# shellcheck disable=SC2086
tar $reproducible -cf "$archive.new" config.json layer.tar manifest.json
mv "$archive.new" "$archive"
echo "$archive: $image ($(stat -c %s "$archive") bytes)"
