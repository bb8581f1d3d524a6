#!/usr/bin/env python3
"""Build the Debian section data set out of Debian package metadata.

Reads the ``Packages`` index (which package is in which section and comes from which source) and
the ``Translation-en`` index (the English descriptions) of one Debian suite, and writes
``train.tsv.xz`` and ``validation.tsv.xz``.  Needs only the standard library and, to fetch the
indices, ``apt-get`` with a private state folder: the machine's own apt settings stay as they are.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
APT_HELPER = "/usr/lib/apt/apt-helper"
CLASS_COUNT = 24
# Sections that say how a package is used or shipped, not what it is about.
NO_TOPIC = {"debug", "introspection", "localization", "metapackages", "misc", "oldlibs", "tasks"}
VALIDATION_PER_MILLE = 50
MAX_CHARS = 560
MAX_TAIL_CHARS = 140
NEAR_DUPLICATE = 0.8
INDICES = ("Packages", "Translation-en")


class InputError(Exception):
    """Bad input that the user can mend; its text is the one line shown."""


class Row(NamedTuple):
    """One package of the data set."""

    section: str
    package: str
    source: str
    text: str


def stanzas(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    """Yield each stanza of a Debian control file as a dictionary of its fields."""
    fields: dict[str, str] = {}
    name = ""
    for line in lines:
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line
        else:
            name, _, value = line.partition(":")
            fields[name] = value.strip()
    if fields:
        yield fields


def plain(text: str) -> str:
    """Return ``text`` in lower case on one line, without web addresses and rulers."""
    text = unicodedata.normalize("NFKC", text).lower()
    text = re.sub(r"<?\b(?:https?|ftp)://\S+", " ", text)
    text = re.sub(r"([-=_*.~#+])\1{2,}", " ", text)
    return " ".join(text.split())


def cut(text: str, limit: int) -> str:
    """Return the beginning of ``text``, at most ``limit`` characters, ending at a word."""
    if len(text) <= limit:
        return text
    head, _, _ = text[: limit + 1].rpartition(" ")
    return head or text[:limit]


def normalise(short: str, long: str = "") -> str:
    """Return the model's text for a short and a long description.

    A description that is too long is shortened in the middle: its last paragraph often is the
    one that tells a library from its documentation, so the start of it is kept.
    """
    paragraphs = [plain(part) for part in re.split(r"\n\s*\.?\s*(?=\n|$)", long)]
    paragraphs = [part for part in paragraphs if part]
    short = plain(short).rstrip(".")
    whole = ". ".join([short, " ".join(paragraphs)]) if paragraphs else short
    if len(whole) <= MAX_CHARS or len(paragraphs) < 2:
        return cut(whole, MAX_CHARS)
    tail = cut(paragraphs[-1], MAX_TAIL_CHARS)
    head = ". ".join([short, " ".join(paragraphs[:-1])])
    return cut(head, MAX_CHARS - len(tail) - 1) + " " + tail


def find_index(folder: Path, suite: str, ending: str) -> Path:
    """Return the one index of ``suite``/main in ``folder`` whose name matches ``ending``."""
    name = re.compile(rf"(?:^|.*_dists_{re.escape(suite)}_main_.*){ending}(?:\.\w+)?$")
    found = sorted(path for path in folder.iterdir() if name.match(path.name))
    if len(found) != 1:
        raise InputError(f"{len(found)} {ending} indices of {suite}/main in {folder}, need one")
    return found[0]


def read_index(path: Path) -> str:
    """Return the text of an index, whatever apt compressed it with."""
    try:
        data = subprocess.run([APT_HELPER, "cat-file", str(path)], capture_output=True, check=True)
    except FileNotFoundError as error:
        raise InputError(f"{APT_HELPER} is missing: run this on a Debian system") from error
    except subprocess.CalledProcessError as error:
        raise InputError(f"cannot read the index {path}") from error
    return data.stdout.decode("utf-8")


def fetch_indices(folder: Path) -> None:
    """Let apt fetch its indices with English descriptions into ``folder``, privately."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    (folder / "cache" / "archives" / "partial").mkdir(parents=True)
    command = ["apt-get", "update", "-qq"]
    settings = [f"Dir::State::Lists={lists}", f"Dir::Cache={folder / 'cache'}"]
    settings += ["APT::Sandbox::User=", "Acquire::Languages=", "Acquire::Languages::=en"]
    for setting in settings:
        command += ["-o", setting]
    try:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise InputError("apt-get is missing: run this on a Debian system") from error
    except subprocess.CalledProcessError as error:
        raise InputError("apt-get update failed") from error


def read_descriptions(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Return (package, checksum) -> (short, long) of a Translation-en index."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for fields in stanzas(text.splitlines()):
        short, _, long = fields.get("Description-en", "").partition("\n")
        found[fields["Package"], fields["Description-md5"]] = (short, long)
    return found


def read_rows(packages: str, translations: str) -> list[Row]:
    """Join the two indices into rows, one for each binary package name."""
    descriptions = read_descriptions(translations)
    rows: dict[str, Row] = {}
    for fields in stanzas(packages.splitlines()):
        name = fields["Package"]
        pair = descriptions.get((name, fields.get("Description-md5", "")))
        if pair is None or "Section" not in fields:
            continue
        source = fields.get("Source", name).split(" ")[0]
        section = fields["Section"].rpartition("/")[2]
        rows[name] = Row(section, name, source, normalise(*pair))
    return [rows[name] for name in sorted(rows)]


def words(text: str) -> frozenset[str]:
    """Return the set of words of ``text``, numbers left out."""
    return frozenset(re.findall(r"[^\W\d_]+", text))


def drop_near_duplicates(rows: Iterable[Row]) -> list[Row]:
    """Keep one of the rows of a source and section that nearly say the same."""
    kept: list[Row] = []
    seen: dict[tuple[str, str], list[frozenset[str]]] = defaultdict(list)
    for row in rows:
        own, others = words(row.text), seen[row.source, row.section]
        if all(len(own & other) < NEAR_DUPLICATE * len(own | other) for other in others):
            others.append(own)
            kept.append(row)
    return kept


def split_groups(rows: list[Row]) -> dict[str, str]:
    """Return source -> name of its group; a group never crosses the split.

    Sources that differ in their version number only (gcc-11, gcc-12) are one group, and so are
    sources that have a description in common.
    """
    parent: dict[str, str] = {}

    def root(item: str) -> str:
        while parent.setdefault(item, item) != item:
            item = parent[item]
        return item

    for row in rows:
        stem = re.sub(r"[-.]?\d[\d.]*", "", row.source) or row.source
        for item in ("source " + stem, "text " + " ".join(sorted(words(row.text)))):
            one, other = root("name " + row.source), root(item)
            parent[max(one, other)] = min(one, other)
    return {row.source: root("name " + row.source) for row in rows}


def number(text: str) -> int:
    """Return a number that depends on ``text`` only, spread evenly."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def build(rows: list[Row]) -> tuple[list[Row], list[Row], list[str]]:
    """Return the train rows, the validation rows and the classes."""
    groups = split_groups(rows)
    rows = drop_near_duplicates(row for row in rows if row.section not in NO_TOPIC)
    sizes = Counter(row.section for row in rows)
    ranked = sorted(sizes, key=lambda section: (-sizes[section], section))
    classes = sorted(ranked[:CLASS_COUNT])
    train: list[Row] = []
    validation: list[Row] = []
    for row in rows:
        if row.section in classes:
            held_out = number(groups[row.source]) % 1000 < VALIDATION_PER_MILLE
            (validation if held_out else train).append(row)
    train.sort(key=lambda row: (row.source, row.package))
    validation.sort(key=lambda row: number("order " + row.package))
    return train, validation, classes


def write_atomic(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` by way of a temporary file next to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write ``rows`` as tab-separated text compressed with xz."""
    lines = ["section\tpackage\ttext\n"]
    lines += [f"{row.section}\t{row.package}\t{row.text}\n" for row in rows]
    data = lzma.compress(
        "".join(lines).encode(), check=lzma.CHECK_CRC32, preset=9 | lzma.PRESET_EXTREME
    )
    write_atomic(path, data)
    print(f"{path.name}: {len(rows)} rows, {len(data)} bytes")


def origin(folder: Path, suite: str, texts: dict[str, str]) -> dict[str, str]:
    """Return where the data comes from: the release's own words and the indices' checksums."""
    facts = {"suite": suite, "component": "main"}
    for path in sorted(folder.glob(f"*_dists_{suite}_InRelease")):
        for line in path.read_text("utf-8").splitlines():
            name, _, value = line.partition(": ")
            if name in ("Origin", "Version", "Codename", "Date"):
                facts.setdefault(name.lower(), value)
    for name, text in texts.items():
        facts[f"sha256 of {name}"] = hashlib.sha256(text.encode()).hexdigest()
    return facts


def make(folder: Path, suite: str, output: Path) -> None:
    """Build the data set out of the indices in ``folder``."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}")
    texts = {name: read_index(find_index(folder, suite, name)) for name in INDICES}
    train, validation, classes = build(read_rows(*texts.values()))
    if len(classes) < CLASS_COUNT or not validation:
        raise InputError(f"the indices in {folder} hold too few described packages")
    write_rows(output / "train.tsv.xz", train)
    write_rows(output / "validation.tsv.xz", validation)
    facts = json.dumps(origin(folder, suite, texts), indent=2) + "\n"
    write_atomic(output / "origin.json", facts.encode())
    one, two = (Counter(row.section for row in rows) for rows in (train, validation))
    for section in classes:
        print(f"{section:12} {one[section]:6} {two[section]:5}")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Build the Debian section data set.")
    parser.add_argument("--suite", default="bookworm", help="Debian suite (default: %(default)s)")
    parser.add_argument("--indices", type=Path, help="folder of apt's indices; else fetch them")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "data", help="output folder")
    args = parser.parse_args()
    try:
        if args.indices is not None:
            make(args.indices, args.suite, args.output)
        else:
            with tempfile.TemporaryDirectory() as folder:
                fetch_indices(Path(folder))
                make(Path(folder) / "lists", args.suite, args.output)
    except (InputError, OSError) as error:
        print(f"make_data.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
