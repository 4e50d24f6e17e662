#!/usr/bin/env bash
# Installs what the build needs on Debian and its relatives (as root or with sudo); elsewhere says what is needed.
# With --bench also what scripts/bench.sh draws its plots with; with --dev also what contributors' checks need:
# clang with its sanitizers, fuzzer and OpenMP runtime, clang-format, clang-tidy, Doxygen.
set -euo pipefail

packages=(g++ make cmake ninja-build ccache libeigen3-dev libgtest-dev libbenchmark-dev libcli11-dev
  nlohmann-json3-dev zlib1g-dev libxxhash-dev libpng-dev libturbojpeg0-dev
  pkg-config python3)
# Used for fp32 products where there is AVX-512 (cmake/Dependencies.cmake).
grep -qw avx512f /proc/cpuinfo 2>/dev/null && packages+=(libdnnl-dev)
[ "${1:-}" = "--bench" ] && packages+=(python3-matplotlib)
[ "${1:-}" = "--dev" ] && packages+=(clang libclang-rt-14-dev libomp-dev libomp-14-dev clang-format-14 clang-tidy-14 git
  doxygen)

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
  cat >&2 <<'TEXT'
This script installs Debian packages only. On another system install:
  a C++20 compiler with OpenMP (g++ 12 or clang 14 and later), CMake 3.25, Ninja, Eigen 3.4,
  GoogleTest, Google Benchmark, CLI11, nlohmann-json, zlib, xxHash, libpng, libjpeg-turbo; ccache is optional.
TEXT
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q ' ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "Missing: ${missing[*]}. Run this script as root, or install sudo." >&2; exit 1; }
  as_root=(sudo)
fi
echo "Installing: ${missing[*]}"
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
