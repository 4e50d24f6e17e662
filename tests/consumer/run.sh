#!/usr/bin/env bash
# Uses the library as others do, with each compiler: installed, moved, and found by CMake and by pkg-config, while its
# sources are away; inside another project's tree; fetched from an archive; as a single header. Takes compilers (g++).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- g++

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_WAIT_POLICY=passive

(cd "$root" && git ls-files -z --cached --others --exclude-standard |
  xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh |
  tar --null -T - --transform 's,^,exfusion/,' -czf "$work/exfusion.tar.gz")
cp -r "$root/tests/consumer" "$work/consumer"
warnings=(-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

# Nothing is optimised, and the kernels are compiled a few files at once: it is not speed that is tested here.
configure() {
  cmake -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O0 \
    -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=15 -Wdev -Werror=dev "$@" >"$work/log" ||
    { cat "$work/log"; return 1; }
}
build() { cmake --build "$@" >"$work/log" || { cat "$work/log"; return 1; }; }

# consume NAME FLAGS...: builds and runs the project NAME.
consume() {
  local name=$1
  shift
  configure -S "$work/consumer/$name" -B "$work/$compiler/$name" "$@"
  build "$work/$compiler/$name"
  ctest --test-dir "$work/$compiler/$name" --output-on-failure >"$work/log" || { cat "$work/log"; return 1; }
  echo "$compiler: $name"
}

# The flags of what is installed in $prefix.
flags() { PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config "$@"; }

installed() {
  prefix=$work/$compiler/moved
  tar -xzf "$work/exfusion.tar.gz" -C "$work"
  configure -S "$work/exfusion" -B "$work/$compiler/build" -DCMAKE_INSTALL_LIBDIR=lib \
    -DEXFUSION_BUILD_TESTS=OFF -DEXFUSION_BUILD_EXAMPLES=OFF -DEXFUSION_BUILD_BENCH=OFF
  build "$work/$compiler/build"
  cmake --install "$work/$compiler/build" --prefix "$work/$compiler/installed" >/dev/null
  mv "$work/$compiler/installed" "$prefix"
  rm -r "$work/exfusion" "$work/$compiler/build"
  if grep -rlF -e "$work" -e "$root" "$prefix"; then
    echo "these installed files name a folder of the build" >&2
    return 1
  fi

  consume find_package -DCMAKE_PREFIX_PATH="$prefix"

  local kind packages out=$work/$compiler/pkg_config
  mkdir "$out"
  for kind in header_only compiled; do
    packages=(exfusion-train) extra=()
    [ $kind = compiled ] && packages+=(exfusion-compiled) extra=(-DEXPECT_COMPILED)
    read -ra cflags < <(flags --cflags "${packages[@]}")
    read -ra libs < <(flags --libs "${packages[@]}")
    "$compiler" -std=c++20 "${warnings[@]}" "${extra[@]}" "$work"/consumer/program/*.cpp "${cflags[@]}" "${libs[@]}" \
      -o "$out/$kind"
    "$out/$kind" "$out/$kind-output" >/dev/null
  done
  echo "$compiler: pkg-config"
}

for compiler; do
  mkdir "$work/$compiler"
  installed
  tar -xzf "$work/exfusion.tar.gz" -C "$work"
  consume add_subdirectory -DEXFUSION_SOURCE="$work/exfusion"
  rm -r "$work/exfusion"
  consume fetch_content -DEXFUSION_URL="file://$work/exfusion.tar.gz"
done
