#!/usr/bin/env python3
"""Writes the library as one header.

    scripts/amalgamate.py [--with io,data,train] [--out exfusion_single.hpp]

Without --with it holds exfusion.hpp and needs nothing but Eigen and OpenMP; io, data, train, testing and eigen add
the headers of that folder or name, and with them what these need (docs/install.md). The same sources give the same bytes.
"""

import argparse
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
INCLUDE = ROOT / "include"
PARTS = ("io", "data", "train", "testing", "eigen")
INLINE_PART = re.compile(r"^#if !EXFUSION_DECLARE_ONLY\n#include <([^>]+)>\n#endif\n", re.MULTILINE)
OWN = re.compile(r"#include <(exfusion/[^>]+)>")


def version():
    text = (INCLUDE / "exfusion/version.hpp").read_text(encoding="utf-8")
    return ".".join(re.findall(r"#define EXFUSION_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", text))


def headers_of(part):
    if part == "eigen":
        return ["exfusion/eigen.hpp"]
    folder = INCLUDE / "exfusion" / part
    return sorted(path.relative_to(INCLUDE).as_posix() for path in folder.rglob("*.hpp"))


def read(name):
    """The lines of a header, each with the header of the library that it includes, or None, and whether it stands
    under a condition. What includes a kernel's own -inl.hpp is left out: those come last, under one condition."""
    text = (INCLUDE / name).read_text(encoding="utf-8").replace("#pragma once\n", "")
    text = INLINE_PART.sub("", text)
    depth, lines = 0, []
    for line in text.splitlines():
        own = OWN.match(line)
        depth += bool(re.match(r"#\s*if", line)) - bool(re.match(r"#\s*endif", line))
        lines.append((line, own and own[1], depth > 0))
    return lines


def inline_part(name):
    found = INLINE_PART.search((INCLUDE / name).read_text(encoding="utf-8"))
    return [found[1]] if found else []


def needed(name, conditional=False):
    return [own for _, own, under in read(name) if own and under == conditional]


def closure(names, before=()):
    """`names` and all that they always include but for `before`, each after what it includes. What is included under
    a condition is put in where it stands; what that needs as others do comes before, too."""
    everything = set()

    def gather(name):
        if name not in everything and name not in before:
            everything.add(name)
            for other in needed(name):
                gather(other)

    for name in names:
        gather(name)
    order, seen = [], set()

    def visit(name):
        if name in seen or name in before:
            return
        seen.add(name)
        for other in needed(name) + needed(name, conditional=True):
            visit(other)
        if name in everything:
            order.append(name)

    for name in names:
        visit(name)
    return order


def emit(name, done, perhaps, lines):
    """Appends the header `name`; `done` are those that stand there already, `perhaps` those under a condition."""
    done.add(name)
    lines.append("")
    lines.append(f"// {name}")
    for line, own, conditional in read(name):
        if own is None:
            lines.append(line)
        elif own in perhaps:
            raise SystemExit(f"{name} includes {own}, which stands under the condition of another header")
        elif conditional:
            for other in closure([own], done):
                perhaps.add(other)
                emit(other, done, perhaps, lines)


def amalgamate(parts):
    always = closure(["exfusion/exfusion.hpp"] + [name for part in parts for name in headers_of(part)])
    parts_inline = [part for name in always for part in inline_part(name)]
    inline = closure(parts_inline, set(always))
    # Kernels that only other kernels include bring their own.
    while more := [part for name in inline for part in inline_part(name) if part not in inline]:
        parts_inline += more
        inline = closure(parts_inline, set(always))
    asked = f" --with {','.join(parts)}" if parts else ""
    lines = [f"// ExFusion {version()} as one header, made by scripts/amalgamate.py{asked}. Licence: Apache-2.0.", "",
             "#ifndef EXFUSION_SINGLE_HPP", "#define EXFUSION_SINGLE_HPP"]
    done, perhaps = set(), set()
    for name in always:
        emit(name, done, perhaps, lines)
    lines += ["", "#if !EXFUSION_DECLARE_ONLY"]
    for name in inline:
        emit(name, done, perhaps, lines)
    lines += ["", "#endif  // !EXFUSION_DECLARE_ONLY", "#endif  // EXFUSION_SINGLE_HPP"]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with", dest="parts", default="", help=f"some of {','.join(PARTS)}")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("exfusion_single.hpp"))
    arguments = parser.parse_args()
    parts = [part for part in arguments.parts.split(",") if part]
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"no part is named {', '.join(unknown)}; there are: {', '.join(PARTS)}")
    arguments.out.write_text(amalgamate(sorted(set(parts))), encoding="utf-8")


if __name__ == "__main__":
    main()
