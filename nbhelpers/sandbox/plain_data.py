"""Plain data over a pipe. Its source is sent into the sandbox, where it needs the standard library alone.

Nothing that arrives can run: no pickle, no eval, no class but the built-in ones. Types are exact, so a subclass of str
with an `__eq__` of its own does not get through.
"""

import json

LARGEST = 1_000_000  # bytes of one message

SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def to_json(value):
    """A value as JSON: {type: content}, but for None, booleans and strings, which are what they are."""
    kind = type(value)
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return {"int": hex(value)}
    if kind is float:
        return {"float": value.hex()}
    if kind is complex:
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is dict:
        return {"dict": [[to_json(key), to_json(item)] for key, item in value.items()]}
    if kind in SEQUENCES.values():
        return {kind.__name__: [to_json(item) for item in value]}
    raise TypeError(
        f"a {kind.__name__} cannot pass between program and tests, only plain data such as lists and numbers"
    )


def from_json(value):
    if type(value) is not dict:
        return value
    ((kind, content),) = value.items()
    if kind == "int":
        return int(content, 16)
    if kind == "float":
        return float.fromhex(content)
    if kind == "complex":
        return complex(*map(float.fromhex, content))
    if kind == "bytes":
        return bytes.fromhex(content)
    if kind == "dict":
        return {from_json(key): from_json(item) for key, item in content}
    return SEQUENCES[kind](from_json(item) for item in content)


def send(pipe, message):
    content = json.dumps(message).encode()
    if len(content) > LARGEST:
        raise ValueError(f"a value of {len(content):,} bytes is too large to pass between program and tests")
    pipe.write(len(content).to_bytes(4, "big") + content)
    pipe.flush()


def receive(pipe):
    """The next message; EOFError if the other side has ended."""
    head = pipe.read(4)
    if len(head) < 4:
        raise EOFError
    length = int.from_bytes(head, "big")
    if length > LARGEST:
        raise ValueError("a message that is too large")
    content = pipe.read(length)
    if len(content) < length:
        raise EOFError
    return json.loads(content)


def limit(seconds, megabytes):
    """Hard limits for this process: time, memory, files, and no further process or thread (which do not bind root)."""
    import resource

    wanted = {
        "RLIMIT_CPU": seconds,
        "RLIMIT_AS": megabytes * 2**20,
        "RLIMIT_FSIZE": 2**20,
        "RLIMIT_NOFILE": 32,
        "RLIMIT_CORE": 0,
        "RLIMIT_NPROC": 1,
    }
    for name, value in wanted.items():
        try:
            which = getattr(resource, name)
            hard = resource.getrlimit(which)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(which, (value, value))
        except (AttributeError, OSError, ValueError):  # macOS lacks some
            pass


def closed_to_others():
    """On Linux: no other process of this user may look into this one (PR_SET_DUMPABLE)."""
    try:
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
    except (AttributeError, ImportError, OSError):
        pass
