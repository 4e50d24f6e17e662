"""What the comparisons of byte-level BPE share: GPT-2's pattern, its characters for bytes, and random texts."""

PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
END = "<|endoftext|>"
SPACES = [9, 10, 11, 12, 13, 32, 32, 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F,
          0x3000, 0x200B, 0x180E]


def random_text(generator, longest):
    """Characters of all planes, emoji, contractions and mixed white space."""
    return "".join(random_character(generator) for _ in range(generator.randrange(1, longest)))


def random_character(generator):
    kind = generator.random()
    if kind < 0.25:
        return chr(generator.choice(SPACES))
    if kind < 0.5:
        return chr(generator.randrange(32, 127))
    if kind < 0.6:
        return generator.choice(["'", "'s", "'ll", "'re", "'T", "'d", " the", "ing", END])
    if kind < 0.7:
        return chr(generator.randrange(0x1F300, 0x1FAFF))
    if kind < 0.85:
        return chr(generator.choice([generator.randrange(0x80, 0xD800), generator.randrange(0xE000, 0x10000)]))
    return chr(generator.randrange(0x10000, 0x110000))


def byte_of_character():
    """The byte that each visible character of a vocabulary file means."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(b): b for b in seen} | {chr(256 + i): b for i, b in enumerate(rest)}
