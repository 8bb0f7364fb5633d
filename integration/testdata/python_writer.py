"""A writer of a fleet's managed lists, as KingPin's Python library is one.

    python_writer.py ZK_HOSTS S3_URL ZK_PATH

Takes commands on standard input, a line each, and answers each with a line:

    add JSON   append the value to the list; "ok VERSION", or "conflict" if the
               list isn't what it was when it was read, or "locked"
    extend JSON   append the array's values; answered like add
    read       read the list, for the next add; its text
    lock       take the write lock and keep it; "ok" or "locked"
    wait       wait for the write lock, and keep it; "ok"
    unlock     give it back; "ok"
"""
import json
import sys
import time
import urllib.parse
import urllib.request

from kazoo.client import KazooClient

zk_hosts, s3_url, zk_path = sys.argv[1:]
prefix = "data" + zk_path


def s3(method, key, body=None):
    url = s3_url + "/" + urllib.parse.quote(key.replace(".", "/"))
    request = urllib.request.Request(url, data=body, method=method)
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request) as response:
        return response.read()


def current():
    """The list's text: what the version says that the pointer names."""
    version = (zk.get(zk_path)[0] or b"").decode()
    return s3("GET", prefix + "_" + version).decode() if version else json.dumps([])


def publish(values, old):
    """Writes as the library does: only if the old values are the current ones."""
    held = zk.Lock(zk_path + ".lock")
    if not held.acquire(blocking=False):
        return "locked"
    try:
        if json.dumps(old) != current():
            return "conflict"
        version = "%.12g" % time.time()  # as Python 2's str had it
        s3("PUT", prefix + "_" + version, json.dumps(values).encode())
        s3("PUT", prefix, version.encode())
        zk.set(zk_path, version.encode())
        return "ok " + version
    finally:
        held.release()


zk = KazooClient(hosts=zk_hosts)
zk.start()
lock = zk.Lock(zk_path + ".lock")
values = None
print("ready", flush=True)
for line in sys.stdin:
    command, _, argument = line.rstrip("\n").partition(" ")
    if command == "read":
        values = json.loads(current())
        answer = json.dumps(values)
    elif command in ("add", "extend"):
        if values is None:
            values = json.loads(current())
        more = json.loads(argument)
        answer = publish(values + (more if command == "extend" else [more]), values)
        values = None
    elif command == "lock":
        answer = "ok" if lock.acquire(blocking=False) else "locked"
    elif command == "wait":
        answer = "ok" if lock.acquire(timeout=60) else "locked"
    else:
        lock.release()
        answer = "ok"
    print(answer, flush=True)
zk.stop()
