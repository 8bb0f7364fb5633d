"""A program that writes managed values through the mount of the configs.

    mount_writer.py CONFIG_DIR

Takes commands on standard input, a JSON array each in a line, and answers each
with a line: "done", or the name of the error, such as "EIO".

    ["add", FILE, [ENTRY...]]      append entries to the list that a file holds
    ["set", NAME, VALUE, ALONE]    set a decider; ALONE if nobody else does

What was written must be what is read at once: else the answer is "unread ...".
"""
import errno
import json
import os
import subprocess
import sys
import time

directory = sys.argv[1]


def read(path):
    with open(path) as file:
        return file.read()


def add(path, entries):
    """Replaces the whole file. What is open for writing is of the version that
    counted then, and what is read afterwards is of that one or a newer one, in
    which case it is refused: nothing that others write is lost."""
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            text = read(path)
            content = json.dumps(json.loads(text) + entries).encode()
            while content:
                content = content[os.write(fd, content):]
        except BaseException:
            os.close(fd)
            raise
        try:
            os.close(fd)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
            patience = time.monotonic() + 1
            while read(path) == text and time.monotonic() < patience:
                time.sleep(0.002)  # this machine has the newer one in a moment
            continue
        now = json.loads(read(path))
        return "done" if all(entry in now for entry in entries) else "unread " + json.dumps(now)


def set_decider(path, value, alone):
    run = subprocess.run(["bash", "-c", 'echo "$1" > "$2"', "bash", str(value), path], stderr=subprocess.PIPE, text=True, env={"LC_ALL": "C", "PATH": os.environ["PATH"]})
    if run.returncode:
        for number, name in errno.errorcode.items():
            if run.stderr.rstrip().endswith(": " + os.strerror(number)):
                return name
        return "bash says " + repr(run.stderr)
    now = read(path)
    return "unread " + repr(now) if alone and now != "%d\n" % value else "done"


print("ready", flush=True)
for line in sys.stdin:
    command, name, *rest = json.loads(line)
    try:
        if command == "add":
            answer = add(os.path.join(directory, name), *rest)
        else:
            answer = set_decider(os.path.join(directory, "decider", name), *rest)
    except OSError as error:
        answer = errno.errorcode[error.errno]
    print(answer, flush=True)
