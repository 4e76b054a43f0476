"""Find the value that a function of the script returned, for ``raise SystemExit(main())``, which no hook of Python gets.

A frame that is over keeps its last instruction and its local variables; a function may have one value that it returns.
"""

from __future__ import annotations

import ast
import dis
import inspect
import linecache
from itertools import islice, pairwise
from types import CodeType, FrameType, FunctionType
from typing import TYPE_CHECKING, NamedTuple

from tablevault_pd.capture.parsing import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

_RAISE = dis.opmap["RAISE_VARARGS"]
_RETURN = ("RETURN_VALUE", "RETURN_CONST")
_CONSTANT = ("LOAD_CONST", "LOAD_SMALL_INT")
_LOCAL = ("LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK")


class Called(NamedTuple):
    """The frame of a running function, and the instruction that called it."""

    frame: FrameType
    call: int


def running_calls(stack: Sequence[FrameType]) -> list[Called]:
    """Return the calls along `stack`, from the script inwards, if the script raises the value of the first one.

    None otherwise: a frame that is kept keeps its variables. Nor any behind a function that is not called by its name.
    """
    script = stack[0]
    # to list all instructions of a script takes a while
    if _RAISE not in script.f_code.co_code[script.f_lasti :: 2]:
        return []
    coming = (
        instruction.opname
        for instruction in dis.get_instructions(script.f_code)
        if instruction.offset > script.f_lasti and instruction.opname != "PRECALL"
    )
    if list(islice(coming, 2)) != ["CALL", "RAISE_VARARGS"]:
        return []
    calls: list[Called] = []
    for caller, frame in pairwise(stack):
        function = called_function(caller, statement_at(caller, caller.f_lasti))
        if function is None or function.__code__ is not frame.f_code:
            break
        calls.append(Called(frame, caller.f_lasti))
    return calls


def returned_value(called: Sequence[Called], function: FunctionType | None) -> object:
    """Return the value of `function`, the first of these calls. Raises ValueError if it cannot be found."""
    if not called:
        return _only_value(function)
    frame = called[0].frame
    before, last = _last_two(frame.f_code, frame.f_lasti)
    if last.opname == "RETURN_VALUE" and not last.is_jump_target:
        if before.opname in _LOCAL:
            return frame.f_locals[before.argval]
        if before.opname == "CALL":
            ran = len(called) > 1 and before.offset <= called[1].call < last.offset
            function = called_function(frame, statement_at(frame, before.offset))
            return returned_value(called[1:] if ran else [], function)
    return _constant(before, last)


def _only_value(function: FunctionType | None) -> object:
    if function is None or function.__code__.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE):
        raise ValueError("it is not known what was called")
    code = function.__code__
    ends = [instruction.offset for instruction in dis.get_instructions(code) if instruction.opname in _RETURN]
    values = [_constant(*_last_two(code, end)) for end in ends]
    if not values or any(value != values[0] for value in values):
        raise ValueError("it may return one value or another")
    return values[0]


def _constant(before: dis.Instruction, last: dis.Instruction) -> object:
    if last.opname == "RETURN_CONST":
        return last.argval
    if last.opname != "RETURN_VALUE" or last.is_jump_target or before.opname not in _CONSTANT:
        raise ValueError("it is the value of an expression, or the function was left by an exception")
    return before.argval


def _last_two(code: CodeType, end: int) -> Sequence[dis.Instruction]:
    return [instruction for instruction in dis.get_instructions(code) if instruction.offset <= end][-2:]


def called_function(frame: FrameType, call: ast.AST | None) -> FunctionType | None:
    """Return the Python function that `call`, an expression in `frame`, calls by name."""
    if isinstance(call, ast.Expr):
        call = call.value
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        return None
    function = {**frame.f_globals, **frame.f_locals}.get(call.func.id)
    return function if isinstance(function, FunctionType) else None


def statement_at(frame: FrameType, instruction: int) -> ast.stmt | None:
    """Return the statement or expression of an instruction of `frame`; None without its source."""
    start, end, left, right = list(frame.f_code.co_positions())[instruction // 2]
    if None in (start, end, left, right):
        return None
    lines = [
        linecache.getline(frame.f_code.co_filename, line).encode()
        for line in range(start or 0, (end or 0) + 1)
    ]
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    try:
        tree: ast.Module = parse(b"".join(lines))
        [statement] = tree.body
    except (SyntaxError, ValueError):
        return None
    return statement
