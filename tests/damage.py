"""Damage to the records of runs: what crashes, editors, copies and other programs may cause."""

import json
import os
import socket

FILES = ("config.json", "env.json", "status.json", "curve.jsonl", "baselines.json", "figure.png")

VALUES = (
    *(None, True, -1, 0, 1.5, 1e308, float("nan"), float("-inf"), 10**30, 10**400),
    *("", "x" * 20_000, "\ud800", "a\nb", "\x1b[31m\x1b]0;t\x07", "[/red][bold]", "<b>&", "é"),
    *([], {}, [[[]]], [None], {"name": 3}, {"name": ""}, ["error", "x"], "../..", "ok", "running"),
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"


def damaged(folder, random):
    """Damage one file of a run in one way; return the folder, which may have another name."""
    file = folder / random.choice(FILES)
    way = random.choice((edited, edited, edited, corrupted, corrupted, replaced, renamed))
    return way(folder, file, random) or folder


def edited(folder, file, random):
    """Give one entry of a JSON file another value, remove it or add one."""
    if file.suffix == ".png":
        file.write_bytes(random.choice((b"", EPS, b"\x89PNG\r\n\x1a\n" + bytes(40), b"BM" * 99)))
        return
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    chosen = random.randrange(len(lines))
    content = json.loads(lines[chosen])
    table = content
    while random.random() < 0.5 and (inner := [t for t in table.values() if isinstance(t, dict)]):
        table = random.choice(inner)
    key = random.choice([*table, "new"])
    if key in table and random.random() < 0.1:
        del table[key]
    else:
        table[key] = random.choice(VALUES)
    lines[chosen] = json.dumps(content)
    file.write_text("".join(f"{line}\n" for line in lines))


def corrupted(folder, file, random):
    """Cut, overwrite, repeat or insert bytes."""
    data = file.read_bytes()
    at, to = sorted(random.randrange(len(data) + 1) for _ in range(2))
    file.write_bytes(
        random.choice(
            (
                data[:at],
                b"",
                data[:at] + bytes(to - at) + data[to:],
                data[:to] + data[at:],
                data[:at] + random.randbytes(9) + data[at:],
                b"\xef\xbb\xbf" + data,
                data.decode("latin-1").encode("utf-16"),
                b"[" * 100_000,
                b'{"a":' * 60 + b"1" + b"}" * 60 + b"\n",
                data.replace(b"1", b"1" * 5000),
            )
        )
    )


def replaced(folder, file, random):
    """Put what is no regular file in the place of a file."""
    file.unlink()
    way = random.randrange(7)
    if way == 0:
        os.mkfifo(file)
    elif way == 1:
        file.mkdir()
    elif way == 2:
        (file / "inner").mkdir(parents=True)
    elif way < 6:
        file.symlink_to(("/dev/zero", file.name, "nowhere")[way - 3])
    else:
        with socket.socket(socket.AF_UNIX) as end:
            here = os.getcwd()
            os.chdir(folder)  # the path of a socket is short
            end.bind(file.name)
            os.chdir(here)


def renamed(folder, file, random):
    """Give the folder a name that cannot be printed."""
    name = random.choice((b"\xff\xfe", b"a\nb", b"\x1b[31m", b"[bold]", b"'; rm -rf .", b"\xf0"))
    name += folder.name.encode()
    path = os.fsdecode(os.path.join(os.fsencode(folder.parent), name))
    return folder.rename(path)
