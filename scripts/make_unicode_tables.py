#!/usr/bin/env python3
"""Writes include/exfusion/data/unicode_tables.hpp: which code points are letters, numbers and white space.

Needs unicodedata2 16.0.0 (pip): tiktoken 0.14 and tokenizers 0.23 know Unicode 16, and each character of a class of
its own that they take for another would cut words elsewhere.

    scripts/make_unicode_tables.py
"""

import pathlib

import unicodedata2

# The property White_Space (PropList.txt); it has not changed since Unicode 6.3.
SPACES = {*range(0x09, 0x0E), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}


def char_class(code):
    if code in SPACES:
        return "space"
    return {"L": "letter", "N": "number"}.get(unicodedata2.category(chr(code))[0], "other")


def ranges(kind):
    """The runs of code points of one kind, first and last of each."""
    found = []
    for code in range(0x110000):
        if char_class(code) != kind:
            continue
        if found and found[-1][1] == code - 1:
            found[-1][1] = code
        else:
            found.append([code, code])
    return found


def table(kind):
    lines = [f"inline constexpr CodePointRange {kind}_ranges[] = {{"]
    line = "   "
    for first, last in ranges(kind):
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 108:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join([*lines, line.rstrip(","), "};"])


tables = "\n\n".join(table(kind) for kind in ("letter", "number", "space"))
path = pathlib.Path(__file__).parent.parent / "include/exfusion/data/unicode_tables.hpp"
path.write_text(f"""#pragma once

// Written by scripts/make_unicode_tables.py from Unicode {unicodedata2.unidata_version}: the general categories L* and N*, and the property
// White_Space.

namespace exfusion::data::detail {{

struct CodePointRange {{
  char32_t first;
  char32_t last;
}};

// clang-format off
{tables}
// clang-format on

}}  // namespace exfusion::data::detail
""")
print(f"Unicode {unicodedata2.unidata_version}")
