# Shell functions that quickstart, check and .ci/run share: step headings with times, quiet configuring, where data lies.
# Sourced with $root set to the repository; POSIX sh only.
# shellcheck shell=sh disable=SC2154

started=$(date +%s)

# clock SECONDS -> m:ss
clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# step TEXT: a heading that carries the time since the start.
step() { printf '\n==> [%s] %s\n' "$(clock $(($(date +%s) - started)))" "$*"; }

die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 2
}

cores() { nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1; }

# configure PRESET [CMAKE OPTIONS]: shows the summary only, and everything when it fails.
configure() {
  mkdir -p "$root/build"
  configure_log=$root/build/configure-$1.log
  preset=$1
  shift
  if ! (cd "$root" && cmake --preset "$preset" "$@") >"$configure_log" 2>&1; then
    cat "$configure_log" >&2
    return 1
  fi
  sed -n -e 's/^-- \(Gradus .*\)/    \1/p' -e 's/^--   \(.*\)/      \1/p' "$configure_log"
}

# nvcc, or nothing: where CMake looks for it.
find_nvcc() {
  command -v nvcc && return
  for place in "${CUDA_HOME:-}" "${CUDA_PATH:-}" /usr/local/cuda; do
    if [ -n "$place" ] && [ -x "$place/bin/nvcc" ]; then
      printf '%s\n' "$place/bin/nvcc"
      return
    fi
  done
}

# The folder that holds Fashion-MNIST, or nothing: GRADUS_DATA, the Debian package, the package unpacked without root.
fashion_mnist() {
  for place in "${GRADUS_DATA:-}" /usr/share/datasets/fashion-mnist "$root/build/data-root/usr/share/datasets/fashion-mnist"; do
    for name in train-images-idx3-ubyte train-images-idx3-ubyte.gz; do
      if [ -n "$place" ] && [ -f "$place/$name" ]; then
        printf '%s\n' "$place"
        return
      fi
    done
  done
}
