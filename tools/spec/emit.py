"""What the generators share: spelling of C, Python and Markdown, and writing or checking files."""

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Name -> (value, meaning).
Members = dict[str, tuple[int, str]]


def c_number(value: int) -> str:
    """Spell an integer constant so that its C type is int32_t or uint32_t."""
    return f"{value}" if value <= 0x7FFFFFFF else f"0x{value:08X}u"


def c_enum(prefix: str, name: str, members: Members) -> list[str]:
    """Return the lines of an enumeration; its members repeat its name."""
    lines = ["", "typedef enum {"]
    for member, (value, meaning) in members.items():
        lines.append(f"  {prefix.upper()}_{name.upper()}_{member} = {value},  // {meaning}")
    return [*lines, f"}} {prefix}_{name}_t;"]


def python_enum(name: str, members: Members) -> list[str]:
    """Return the lines of an IntEnum."""
    class_name = "".join(part.capitalize() for part in name.split("_"))
    lines = ["", "", f"class {class_name}(IntEnum):", f'    """Numbers of {name}."""', ""]
    return lines + [
        f"    {member} = {value}  # {text}" for member, (value, text) in members.items()
    ]


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def enum_table(members: Members) -> list[str]:
    """Return the table of an enumeration."""
    rows = [[str(value), f"`{name}`", meaning] for name, (value, meaning) in members.items()]
    return table(["number", "name", "meaning"], rows)


def constants_table(constants: Members) -> list[str]:
    """Return the table of constants."""
    rows = [[f"`{name}`", str(value), meaning] for name, (value, meaning) in constants.items()]
    return table(["name", "value", "meaning"], rows)


def filled(document: Path, blocks: dict[str, list[str]]) -> str:
    """Return a document with every generated block made anew."""
    text = document.read_text()
    for name, lines in blocks.items():
        begin, end = f"<!-- generated: {name} -->", "<!-- end generated -->"
        head, found, rest = text.partition(begin)
        if not found:
            raise SystemExit(
                f"{document.name}: the marker '{begin}' is missing; put it where its table belongs"
            )
        text = head + begin + "\n" + "\n".join(lines) + "\n" + end + rest.partition(end)[2]
    return text


def write_or_check(texts: dict[Path, str], description: str | None) -> int:
    """Write what is stale; with --check on the command line only name it and return 1."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="only say which files are stale")
    check = parser.parse_args().check
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if check else 'wrote'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(texts[path])
    return 1 if check and stale else 0
