# Unpacks Debian packages into an empty root, for the scripts beside it: sourced with $image and $packages set. Sets $work, which goes with
# the script, and goes to $work/root.
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || {
  echo "error: $(basename "$0") needs a Debian or a relative of it" >&2
  echo "hint: elsewhere pull $image" >&2
  exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/packages" "$work/root"

cd "$work/packages"
# shellcheck disable=SC2086 # a list of words
apt-get -qq download $packages 2>"$work/apt" || { apt-get -qq update && apt-get -qq download $packages; }
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done

cd "$work/root"
