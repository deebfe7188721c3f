"""The driver: runs a program's table of entries for many steps, on one thread or on several that meet at barriers."""

from __future__ import annotations

import ctypes

from fallline.engines.llvm.emitter import Function, Module, Number
from fallline.engines.llvm.kernel import Kernel

# An entry of the table is four i64: the address of its function, the address of its arguments, how many units its
# work has, and whether all threads must have finished the entries before it (0 or 1).
ENTRY_WORDS = 4

# Memory that the threads of a call share: 64-byte aligned, zero before its first call, for one call at a time. All
# that a barrier touches lies on one cache line, so that each arrival moves one line; the rest keeps neighbours off it.
# Arrivals (i64, at 0) are counted over all calls; base (i64) is their number when the last call ended.
SYNC_BYTES = 256
_BASE, _SLEEPERS, _STOP = 8, 16, 24

# How long a thread waits awake before it sleeps: in ticks of the x86 time stamp counter (about 30 µs, what a sleep and
# a wake cost), elsewhere in rounds. Where that was in vain twice in a row, the thread that it waits for most likely
# has no core to run on but this one: then it sleeps after a short while, and tries the long one every sixteenth time.
# Beside a busy process on two cores a barrier costs 4 µs so, and 35 µs with the long wait alone.
SPIN_TICKS, SHORT_TICKS = 80_000, 3_000
SPIN_ROUNDS, SHORT_ROUNDS = 2_000, 200

# The number of Linux's futex call.
_FUTEX = {"x86_64": 202, "aarch64": 98}
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, both private to the process

_RUN = (
    ("ptr", "%table"), ("i64", "%entries"), ("i64", "%steps"), ("i64", "%watch"), ("i64", "%bytes"), ("i64", "%thread"),
    ("i64", "%threads"), ("ptr", "%scratch"), ("ptr", "%sync"),
)  # fmt: skip
# The same for a call from Python, which releases the interpreter lock.
RUN_STEPS = ctypes.CFUNCTYPE(
    ctypes.c_int64, ctypes.c_void_p, *[ctypes.c_int64] * 6, ctypes.c_void_p, ctypes.c_void_p
)  # fmt: skip

_NUMBER = (("i64", "%watch"), ("i64", "%bytes"))
_MEETING = (("ptr", "%sync"), ("i64", "%threads"), ("ptr", "%meeting"), *_NUMBER)


def run_steps() -> Kernel:
    """i64 run_steps(table, entries, steps, watch address, watch bytes, thread, threads, scratch, sync)

    Runs all entries of the table `steps` times; of an entry's units thread t of n does units·t//n … units·(t + 1)//n.
    Ends after the first step that leaves the watched float32 or float64 (4 or 8 bytes; 0: none) not finite. Denormals
    count as zero inside. Each of the n threads makes this call and gets the number of steps done.
    """
    return Kernel("run_steps", _write, shared=True)


def _write(module: Module) -> None:
    _write_stop(module)
    _write_barrier(module)
    for together in (False, True):
        _write_steps(module, together)
    f = Function(module, "run_steps", _RUN, "i64")
    saved = _flush_denormals(f)
    [done] = f.either(
        f.compare("sgt", "%threads", 1),
        lambda: [f.call("run_steps.together", _RUN, "i64")],
        lambda: [f.call("run_steps.alone", _RUN, "i64")],
        ["i64"],
    )
    _restore_denormals(f, saved)
    f.finish(done)


def _write_steps(module: Module, together: bool) -> None:
    """The loop over steps and entries.

    Several threads meet after each step with a watched number. The last to arrive looks at it before the others go on:
    so the next step cannot overwrite it too early, and need not begin with another barrier.
    """
    f = Function(module, "run_steps.together" if together else "run_steps.alone", _RUN, "i64", exported=False)
    body, following, end = f.label("step"), f.label("next"), f.label("end")
    watched = f.compare("ne", "%bytes", 0)
    if together:
        # Of this thread: the arrivals that the last barrier waited for, and how often in a row it waited in vain.
        f.do("%meeting = alloca [2 x i64], align 8")
        base = f.value(f"load atomic i64, ptr {f.at('%sync', _BASE, 'i8')} monotonic, align 8")
        f.store("i64", base, "%meeting")
        f.store("i64", 0, "%meeting", 1)
        f.do(f"%part = add i64 {f.div((1 << 64) - 1, '%threads')}, 1")
    f.do(f"br i1 {f.compare('sgt', '%steps', 0)}, label %{body}, label %{end}")
    f.start(body)
    f.do(f"%step = phi i64 [ 0, %entry ], [ %done, %{following} ]")
    met = f.binary("or", watched, f.compare("eq", "%step", 0), "i1") if together else ""
    f.loop("%entries", lambda k: _run_entry(f, k, met) if together else _run_entry_alone(f, k))
    f.do("%done = add i64 %step, 1")
    if together:
        [stop] = f.either(watched, lambda: [f.call("run_steps.barrier", _MEETING, "i1")], lambda: ["false"], ["i1"])
    else:
        stop = f.call("run_steps.stop", _NUMBER, "i1")
    last = f.block
    f.do(f"br i1 {stop}, label %{end}, label %{following}")
    f.start(following)
    f.do(f"br i1 {f.compare('slt', '%done', '%steps')}, label %{body}, label %{end}")
    f.start(end)
    done = f.value(f"phi i64 [ 0, %entry ], [ %done, %{last} ], [ %done, %{following} ]")
    if together:
        # The same number from every thread; whoever reads the base of this call has done so before the first barrier.
        ended = f.load("i64", "%meeting")
        f.do(f"store atomic i64 {ended}, ptr {f.at('%sync', _BASE, 'i8')} monotonic, align 8")
    f.finish(done)


def _run_entry_alone(f: Function, k: Number) -> None:
    """All units of an entry."""
    entry = f.at("%table", f.mul(k, ENTRY_WORDS), "i64")
    units = f.load("i64", entry, 2)
    with f.when(f.compare("sgt", units, 0)):
        _call_entry(f, entry, 0, units)


def _run_entry(f: Function, k: Number, met: str) -> None:
    """This thread's part of an entry.   met: whether all have met already before the first one of this step"""
    entry = f.at("%table", f.mul(k, ENTRY_WORDS), "i64")
    wanted = f.compare("ne", f.load("i64", entry, 3), 0)
    spared = f.binary("and", f.compare("eq", k, 0), met, "i1")
    with f.when(f.binary("and", wanted, f.binary("xor", spared, "true", "i1"), "i1")):
        f.call("run_steps.barrier", [*_MEETING[:3], ("i64", 0), ("i64", 0)], "i1")
    units = f.load("i64", entry, 2)
    first, last = (_share(f, f.mul(units, thread)) for thread in ("%thread", f.add("%thread", 1)))
    with f.when(f.compare("sgt", last, first)):
        _call_entry(f, entry, first, last)


def _share(f: Function, x: Number) -> str:
    """x // threads, by a product with 2**64 / threads rounded up: exact while x · threads < 2**64."""
    a, b = (f.value(f"zext i64 {y} to i128") for y in (x, "%part"))
    product = f.binary("mul", a, b, "i128")
    return f.value(f"trunc i128 {f.binary('lshr', product, '64', 'i128')} to i64")


def _call_entry(f: Function, entry: str, first: Number, last: Number) -> None:
    """The kernel of an entry, on a range of its units."""
    function, arguments = f.load("ptr", entry, 0), f.load("ptr", entry, 1)
    units = [("i64", first), ("i64", last)]
    f.call(function, [("ptr", arguments), *units, ("ptr", "%scratch"), ("i64", "%step")])


def _write_stop(module: Module) -> None:
    """i1 stop(watch, bytes): whether the watched number is there and not finite (all bits of its exponent set)."""
    f = Function(module, "run_steps.stop", _NUMBER, "i1", exported=False)
    address = f.value("inttoptr i64 %watch to ptr")

    def exponent_full(kind: str, bits: int) -> list[str]:
        return [f.compare("eq", f.binary("and", f.load(kind, address), str(bits), kind), bits, kind)]

    def wide() -> list[str]:
        is_double = f.compare("eq", "%bytes", 8)
        return f.either(is_double, lambda: exponent_full("i64", 0x7FF << 52), lambda: ["false"], ["i1"])

    [stop] = f.either(f.compare("eq", "%bytes", 4), lambda: exponent_full("i32", 0xFF << 23), wide, ["i1"])
    f.finish(stop)


def _write_barrier(module: Module) -> None:
    """i1 barrier(sync, threads, meeting, watch, bytes): returns when all threads have called it: whether to stop.

    Without a watched number the last arrival itself lets the others go on: one change of one line for each thread.
    """
    f = Function(module, "run_steps.barrier", _MEETING, "i1", exported=False)
    due = f.add(f.load("i64", "%meeting"), "%threads")
    f.store("i64", due, "%meeting")

    def arrive() -> list[str]:
        before = f.value("atomicrmw add ptr %sync, i64 1 seq_cst, align 8")
        return [f.compare("eq", f.add(before, 1), due)]

    [is_last] = f.either(f.compare("eq", "%bytes", 0), arrive, lambda: [_arrive_watching(f, due)], ["i1"])
    f.either(is_last, lambda: _wake(f), lambda: _await(f, due), [])
    f.finish(f.value(f"trunc i32 {f.load('i32', f.at('%sync', _STOP, 'i8'))} to i1"))


def _arrive_watching(f: Function, due: Number) -> str:
    """Counts this thread; the last one looks at the watched number before. Whether this is the last one."""
    again, last, more, out = (f.label(hint) for hint in ("again", "last", "more", "out"))
    f.do(f"br label %{again}")
    f.start(again)
    seen = f.value("load atomic i64, ptr %sync acquire, align 8")
    counted = f.add(seen, 1)
    f.do(f"br i1 {f.compare('eq', counted, due)}, label %{last}, label %{more}")
    f.start(last)  # nobody else can arrive any more
    stop = f.call("run_steps.stop", _NUMBER, "i1")
    f.store("i32", f.value(f"zext i1 {stop} to i32"), f.at("%sync", _STOP, "i8"))
    f.value("atomicrmw add ptr %sync, i64 1 seq_cst, align 8")
    f.do(f"br label %{out}")
    f.start(more)
    change = f.value(f"cmpxchg ptr %sync, i64 {seen}, i64 {counted} seq_cst seq_cst, align 8")
    changed = f.value(f"extractvalue {{ i64, i1 }} {change}, 1")
    f.do(f"br i1 {changed}, label %{out}, label %{again}")
    f.start(out)
    return f.value(f"phi i1 [ true, %{last} ], [ false, %{more} ]")


def _wake(f: Function) -> list[str]:
    if _futex(f):
        sleepers = f.value(f"load atomic i32, ptr {f.at('%sync', _SLEEPERS, 'i8')} seq_cst, align 4")
        with f.when(f.compare("ne", sleepers, 0, "i32")):
            _system(f, _WAKE, "2147483647")
    return []


def _await(f: Function, due: Number) -> list[str]:
    """Waits until so many have arrived: awake for a while, then asleep."""
    clock = _machine(f) == "x86_64"

    def ticks() -> str:
        return f.intrinsic("readcyclecounter", "i64", [], overload="")

    begin = ticks() if clock else ""
    misses = f.load("i64", "%meeting", 1)
    in_vain = f.binary("and", f.compare("ugt", misses, 1), f.compare("ne", f.rem(misses, 16), 0), "i1")
    limit = f.choose(in_vain, *((SHORT_TICKS, SPIN_TICKS) if clock else (SHORT_ROUNDS, SPIN_ROUNDS)))
    spin, more, tired, lucky, out = (f.label(hint) for hint in ("spin", "more", "tired", "lucky", "out"))
    before = f.block
    f.do(f"br label %{spin}")
    f.start(spin)
    f.do(f"%round = phi i64 [ 0, %{before} ], [ %rounds, %{more} ]")
    _pause(f)
    seen = f.value("load atomic i64, ptr %sync acquire, align 8")
    f.do(f"br i1 {f.compare('sge', seen, due)}, label %{lucky}, label %{more}")
    f.start(more)
    f.do("%rounds = add i64 %round, 1")
    passed = f.sub(ticks(), begin) if clock else "%rounds"
    f.do(f"br i1 {f.compare('ult', passed, limit)}, label %{spin}, label %{tired}")
    f.start(tired)
    _sleep(f, due)
    f.store("i64", f.add(misses, 1), "%meeting", 1)
    f.do(f"br label %{out}")
    f.start(lucky)
    f.store("i64", 0, "%meeting", 1)
    f.do(f"br label %{out}")
    f.start(out)
    return []


def _sleep(f: Function, due: Number) -> None:
    """Waits without using the core.

    A thread counts itself as a sleeper before it reads the arrivals, and the last to arrive counts itself before it
    reads the sleepers: one of the two sees the other, so no wake is lost.
    """
    look, rest, awake = f.label("look"), f.label("rest"), f.label("awake")
    sleepers = f.at("%sync", _SLEEPERS, "i8")
    if _futex(f):
        f.value(f"atomicrmw add ptr {sleepers}, i32 1 seq_cst, align 4")
    f.do(f"br label %{look}")
    f.start(look)
    seen = f.value("load atomic i64, ptr %sync seq_cst, align 8")
    f.do(f"br i1 {f.compare('sge', seen, due)}, label %{awake}, label %{rest}")
    f.start(rest)
    if _futex(f):
        _system(f, _WAIT, f.value(f"trunc i64 {seen} to i32"))
    else:
        _yield(f)
    f.do(f"br label %{look}")
    f.start(awake)
    if _futex(f):
        f.value(f"atomicrmw sub ptr {sleepers}, i32 1 seq_cst, align 4")


# What depends on the machine.


def _machine(f: Function) -> str:
    """ "x86_64", "aarch64" or whatever the triple begins with."""
    name = f.module.target.triple.split("-")[0]
    return "aarch64" if name == "arm64" else name


def _futex(f: Function) -> int:
    """The number of the system call, or 0 where there is none."""
    return _FUTEX.get(_machine(f), 0) if "linux" in f.module.target.triple else 0


def _system(f: Function, operation: int, value: str) -> None:
    """futex(lower half of the arrivals, operation, value, no timeout)"""
    f.module.declare("declare i64 @syscall(i64, ...)")
    given = f"i64 {_futex(f)}, ptr %sync, i32 {operation}, i32 {value}, ptr null, ptr null, i32 0"
    f.value(f"call i64 (i64, ...) @syscall({given})")


def _yield(f: Function) -> None:
    """Lets other threads run."""
    name = "SwitchToThread" if "windows" in f.module.target.triple else "sched_yield"
    f.module.declare(f"declare i32 @{name}()")
    f.call(name, [], "i32")


def _pause(f: Function) -> None:
    """Tells the core that the thread waits."""
    if _machine(f) == "x86_64":
        f.intrinsic("x86.sse2.pause", "void", [], overload="")
    elif _machine(f) == "aarch64":
        f.intrinsic("aarch64.hint", "void", [("i32", 1)], overload="")


_MXCSR_FLUSH = 0x8040  # flush to zero, denormals are zero
_FPCR_FLUSH = 1 << 24


def _flush_denormals(f: Function) -> str:
    """Makes denormals zero; what to give back to `_restore_denormals`."""
    if _machine(f) == "x86_64":
        saved, flushed = f.value("alloca i32, align 4"), f.value("alloca i32, align 4")
        f.intrinsic("x86.sse.stmxcsr", "void", [("ptr", saved)], overload="")
        f.store("i32", f.binary("or", f.load("i32", saved), str(_MXCSR_FLUSH), "i32"), flushed)
        f.intrinsic("x86.sse.ldmxcsr", "void", [("ptr", flushed)], overload="")
        return saved
    if _machine(f) == "aarch64":
        state = f.intrinsic("aarch64.get.fpcr", "i64", [], overload="")
        f.intrinsic("aarch64.set.fpcr", "void", [("i64", f.binary("or", state, str(_FPCR_FLUSH), "i64"))], overload="")
        return state
    return ""


def _restore_denormals(f: Function, saved: str) -> None:
    if _machine(f) == "x86_64":
        f.intrinsic("x86.sse.ldmxcsr", "void", [("ptr", saved)], overload="")
    elif _machine(f) == "aarch64":
        f.intrinsic("aarch64.set.fpcr", "void", [("i64", saved)], overload="")
