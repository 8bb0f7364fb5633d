"""What Python's writers make of managed values when they change an entry.

    changes.py COUNT SEED

Prints so many random changes, each on a line, as a JSON array of strings:

    the structure: "list", "map" or "mapped list"
    a text of one, which may be Python's or anybody's
    the field that is changed, or ""
    the string that is appended to the list, or set
    what Python writes then
"""
import json
import random
import sys

STRINGS = [
    "", "a", "plain text", "quotes \" and \\ and /", "<>&'", "\x00", "\x01\x1f", "\x7f", "\b\f\n\r\t", "\x80\x9f\xa0", "\xe4\xff", "e\u0301",
    "\u2028\u2029", "\u20ac", "\u200b", "\ufeff", "\ufffd", "\uffff", "\ue000", "\U0001f600", "\U00010000", "\U0010ffff", "\ud83d",
    "\ude00", "\ude00\ud83d", "\ud83d\ud83d\U0001f600", "\udfff\uffff", "null", "1", "-0", "NaN", "__proto__", "\u0661", "\u1e9e", "x" * 300,
]
NUMBERS = [
    "0", "-0", "0.0", "-0.0", "1", "-1", "1.0", "1.10", "0.1", "0.30000000000000004", "1e5", "1E5", "1e+5", "1E-5", "1e-05", "100000000000000000000.0",
    "1e15", "1e16", "1e17", "1e21", "1e22", "1e23", "1e400", "-1e400", "1e-400", "5e-324", "2e-324", "2.2250738585072014e-308", "1.7976931348623157e308",
    "9007199254740993", "9007199254740993.0", "18446744073709551616", "-170141183460469231731687303715884105728", "9" * 400, "-" + "7" * 1000,
    "0.1" + "0" * 50, "3." + "14159265358979" * 20, "123456789012345678.0", "0.0001", "0.00001", "1234567890123456.7", "NaN", "Infinity", "-Infinity",
]


def raw_string(r):
    """A JSON string, as Python writes it or as others do."""
    text = r.choice(STRINGS) + (r.choice(STRINGS) if r.random() < 0.3 else "")
    written = json.dumps(text)
    if r.random() < 0.3:
        try:
            written = json.dumps(text, ensure_ascii=False)
            written.encode()
        except UnicodeEncodeError:  # half a pair
            written = json.dumps(text)
    if r.random() < 0.2:
        written = written.replace("/", "\\/").replace("a", "\\u0061").replace("\\u20ac", "\\u20AC")
    return written


def space(r):
    return r.choice(["", "", "", " ", "\n", "\t\r\n  "])


def joined(r, brackets, parts):
    return brackets[0] + space(r) + ("," + space(r)).join(part + space(r) for part in parts) + brackets[1]


def raw_list(r, depth):
    return joined(r, "[]", [raw_value(r, depth + 1) for _ in range(r.randrange(5))])


def raw_map(r, depth, value=None):
    """Names may occur twice."""
    value = value or raw_value
    fields = [raw_string(r) + space(r) + ":" + space(r) + value(r, depth + 1) for _ in range(r.randrange(6))]
    if fields and r.random() < 0.3:
        fields.append(fields[0].partition(":")[0] + ":" + value(r, depth + 1) if '":' in fields[0] else fields[0])
    return joined(r, "{}", fields)


def raw_value(r, depth):
    kind = r.randrange(10 if depth < 5 else 7)
    if kind < 3:
        return raw_string(r)
    if kind < 6:
        return r.choice(NUMBERS)
    if kind == 6:
        return r.choice(["null", "true", "false", "[]", "{}"])
    if kind == 7:
        deep = r.randrange(1, 300)
        return "[" * deep + r.choice(NUMBERS) + "]" * deep if r.random() < 0.1 else "[]"
    return raw_list(r, depth) if kind == 8 else raw_map(r, depth)


def change(r):
    structure = r.choice(["list", "map", "mapped list"])
    raw = {"list": raw_list, "map": raw_map, "mapped list": lambda r, d: raw_map(r, d, raw_list)}[structure]
    while True:
        text = raw(r, 0)
        try:
            value = json.loads(text)
            break
        except ValueError:  # a field was cut in a wrong place
            continue
    if r.random() < 0.5:
        text = json.dumps(value, sort_keys=structure != "list")
    # What commands and programs are given is Unicode.
    name, new = (r.choice([s for s in STRINGS if s.isprintable() or s.isascii()]) + r.choice(["", "!"]) for _ in range(2))
    if structure == "list":
        if new not in value:
            value.append(new)
        name = ""
    elif structure == "map":
        value[name] = new
    elif new not in value.setdefault(name, []):
        value[name].append(new)
    return [structure, text, name, new, json.dumps(value, sort_keys=structure != "list")]


rng = random.Random(int(sys.argv[2]))
for _ in range(int(sys.argv[1])):
    print(json.dumps(change(rng)))
