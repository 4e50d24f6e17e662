#!/usr/bin/env bash
# Uses the library as others do, with each compiler: installed, moved, and found by CMake and by pkg-config, while its
# sources are away; inside another project's tree; fetched from an archive; as a single header. Takes compilers (g++).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
[ $# -gt 0 ] || set -- g++

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# ccache shall know its files again in another run, in which the folder has another name.
export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1 OMP_WAIT_POLICY=passive
launcher=$(command -v ccache || true)

(cd "$root" && git ls-files -z --cached --others --exclude-standard |
  xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh |
  tar --null -T - --transform 's,^,exfusion/,' -czf "$work/exfusion.tar.gz")
cp -r "$root/tests/consumer" "$work/consumer"

# Nothing is optimised, and the kernels are compiled a few files at once: it is not speed that is tested here.
configure() {
  cmake -G Ninja -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE=-O0 \
    -DCMAKE_CXX_COMPILER_LAUNCHER="$launcher" -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=15 -Wdev -Werror=dev "$@" >"$work/log" ||
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

# by_hand NAME ARGUMENTS...: the program built with the flags of these packages in $prefix, and these definitions.
by_hand() {
  local name=$1 packages=() flags=() libraries unit jobs=()
  shift
  for argument; do
    case $argument in -D*) flags+=("$argument") ;; *) packages+=("$argument") ;; esac
  done
  export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
  read -ra libraries < <(pkg-config --libs "${packages[@]}")
  read -ra flags < <(echo "${flags[@]}" "$(pkg-config --cflags "${packages[@]}")")
  for unit in main second_unit; do
    $launcher "$compiler" -std=c++20 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror "${flags[@]}" \
      -c "$work/consumer/program/$unit.cpp" -o "$name-$unit.o" & jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
  "$compiler" "$name-main.o" "$name-second_unit.o" "${libraries[@]}" -o "$name"
  "./$name" "$name-output" >/dev/null
}

installed() {
  prefix=$work/$compiler/moved
  tar -xzf "$work/exfusion.tar.gz" -C "$work"
  configure -S "$work/exfusion" -B "$work/$compiler/build" -DCMAKE_INSTALL_LIBDIR=lib \
    -DEXFUSION_BUILD_TESTS=OFF -DEXFUSION_BUILD_EXAMPLES=OFF -DEXFUSION_BUILD_BENCH=OFF
  build "$work/$compiler/build"
  cmake --install "$work/$compiler/build" --prefix "$work/$compiler/installed" >/dev/null
  mv "$work/$compiler/installed" "$prefix"
  rm -r "$work/exfusion" "$work/$compiler/build"
  if grep -rlF -e "$work" "$prefix"; then
    echo "these installed files name a folder of the build" >&2
    return 1
  fi

  consume find_package -DCMAKE_PREFIX_PATH="$prefix"

  mkdir "$work/$compiler/pkg_config"
  cd "$work/$compiler/pkg_config"
  by_hand header_only exfusion-train
  by_hand compiled exfusion-train exfusion-compiled -DEXPECT_COMPILED
  cd "$work"
  echo "$compiler: pkg-config"
}

# README's program with the single header in place of the others, and a second file that includes it too.
single_header() {
  local out=$work/$compiler/single_header unit eigen jobs=()
  read -ra eigen < <(pkg-config --cflags eigen3)
  mkdir "$out"
  cd "$out"
  "$root/scripts/amalgamate.py" --with io,data --out exfusion_single.hpp
  "$root/scripts/amalgamate.py" --with data,io --out again.hpp
  cmp exfusion_single.hpp again.hpp
  (echo '#include "exfusion_single.hpp"' && grep -v '#include <exfusion/' "$root/examples/minimal.cpp") >minimal.cpp
  echo '#include "exfusion_single.hpp"' >other.cpp
  for unit in minimal other; do
    $launcher "$compiler" -std=c++20 -O1 -fopenmp -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror \
      "${eigen[@]}" -c "$unit.cpp" & jobs+=($!)
  done
  for job in "${jobs[@]}"; do wait "$job"; done
  "$compiler" -fopenmp minimal.o other.o "$prefix/lib/libexfusion_builtin_text.a" -lz -o minimal
  ./minimal >log
  [ -s minimal-gpt2/model.safetensors ] || { cat log; return 1; }
  cd "$work"
  echo "$compiler: single header"
}

for compiler; do
  mkdir "$work/$compiler"
  installed
  single_header
  # Where the next one's download will be, seen from its build: ccache then compiles them once.
  tree=$work/$compiler/add_subdirectory/_deps/exfusion-src
  mkdir -p "$tree"
  tar -xzf "$work/exfusion.tar.gz" -C "$tree" --strip-components 1
  consume add_subdirectory -DEXFUSION_SOURCE="$tree"
  consume fetch_content -DEXFUSION_URL="file://$work/exfusion.tar.gz"
done
