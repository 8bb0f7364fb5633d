"""What json.loads and json.dumps make of texts.

Each line of standard input is a text in hexadecimal. Of each, a line is printed:
what is dumped of it, with keys as they are, and sorted. Or "refused".

With two arguments, prints as many random texts as the first says instead, each on
a line, in hexadecimal. The second is the seed.
"""
import json
import random
import struct
import sys


def dumped(text):
    try:
        value = json.loads(text.decode("utf-8"))
        return json.dumps(value) + "\t" + json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        return "refused"


def random_text(r):
    alphabet = "aZ09 _-/\\\"'\x00\x1f\x7f\x80\xe4\u2028\u20ac\ufeff\uffff\U0001f600\U0010ffff\ud800\udfff\n\t"
    return "".join(r.choice(alphabet) for _ in range(r.randrange(8)))


def random_number(r):
    kind = r.randrange(4)
    if kind == 0:
        return r.randrange(-1000, 1000)
    if kind == 1:
        return r.randrange(-10**40, 10**40)
    if kind == 2:
        return round(r.uniform(-1e6, 1e6), r.randrange(6)) * 10.0 ** r.randrange(-25, 25)
    return struct.unpack("<d", struct.pack("<Q", r.getrandbits(64)))[0]


def random_value(r, depth):
    kind = r.randrange(9 if depth < 4 else 5)
    if kind == 0:
        return r.choice([None, True, False])
    if kind < 3:
        return random_text(r)
    if kind < 5:
        return random_number(r)
    if kind < 7:
        return [random_value(r, depth + 1) for _ in range(r.randrange(5))]
    return {random_text(r): random_value(r, depth + 1) for _ in range(r.randrange(5))}


if len(sys.argv) > 1:
    rng = random.Random(int(sys.argv[2]))
    for _ in range(int(sys.argv[1])):
        print(json.dumps(random_value(rng, 0)).encode().hex())
else:
    for line in sys.stdin:
        print(dumped(bytes.fromhex(line)))
