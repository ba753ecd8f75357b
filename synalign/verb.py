"""A verb: a method of a workspace whose keywords are the fields of a request model.

    class Workspace:
        align = Verb(AlignRequest, lambda: steps.align)

The model states each keyword once: its type, its default, what is allowed and what it means. Type checkers see
the signature of the model, and `help` and `inspect.signature` show it with the descriptions. What is not given, or
given as None, is as configured: the step looks at `request.model_fields_set`.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import operator
import textwrap
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from types import FunctionType, MethodType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

from synalign.config import Section, parse

if TYPE_CHECKING:
    from synalign.steps.core.context import Context

P = ParamSpec("P")
C = TypeVar("C", covariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
M = TypeVar("M", bound=Section)
A = TypeVar("A")
B = TypeVar("B")


class LazyModule:
    """Stands for a module, which is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        """Return what the module calls so."""
        return getattr(import_module(self._name), name)


def lazy(package: str, *names: str) -> list[LazyModule]:
    """Return modules of a package that are not imported yet."""
    return [LazyModule(f"{package}.{name}") for name in names]


class OptionalFirst(Protocol[P, R_co]):
    """A method whose first field may also be given by position."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...
    @overload
    def __call__(self, first: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...


class Verb(Generic[C]):
    """Binds a request model to the step that does it, as a method.

    Args:
        request: the model.
        step: returns the step, which is imported only then. It is called with the workspace's context, the positional
            arguments if there are any, and the request.
        positional: names of required arguments that are no fields of the model.
        first: the field that may be given by position.
        before: returns what is done with the positional arguments and the request before the workspace is locked; the
            step gets its result in place of them.
        writes: whether the step writes, and so needs the workspace's lock.
    """

    @overload
    def __init__(
        self: Verb[Callable[P, R]],
        request: Callable[P, M],
        step: Callable[[], Callable[[Context, M], R]],
        *,
        writes: bool = True,
    ) -> None: ...
    @overload
    def __init__(
        self: Verb[OptionalFirst[P, R]],
        request: Callable[P, M],
        step: Callable[[], Callable[[Context, M], R]],
        *,
        first: str,
    ) -> None: ...
    @overload
    def __init__(
        self: Verb[Callable[Concatenate[Any, P], R]],
        request: Callable[P, M],
        step: Callable[[], Callable[[Context, A, M], R]],
        positional: tuple[str],
        *,
        before: Callable[[], Callable[[Any, M], A]],
    ) -> None: ...
    @overload
    def __init__(
        self: Verb[Callable[Concatenate[A, B, P], R]],
        request: Callable[P, M],
        step: Callable[[], Callable[[Context, A, B, M], R]],
        positional: tuple[str, str],
    ) -> None: ...

    def __init__(
        self,
        request: Callable[..., Any],
        step: Callable[[], Callable[..., Any]],
        positional: tuple[str, ...] = (),
        *,
        first: str | None = None,
        before: Callable[[], Callable[..., Any]] | None = None,
        writes: bool = True,
    ) -> None:
        self.request = cast(type[Section], request)
        self._step, self._before, self._writes = step, before, writes
        self.required = positional
        self.by_position = positional if first is None else (first,)
        self._function: FunctionType | None = None

    def __set_name__(self, owner: type, name: str) -> None:
        """Take the name of the method."""
        self.name, self._owner = name, owner

    def __get__(self, workspace: Any, owner: type | None = None) -> C:
        """Return the method, with the signature and the documentation of the model."""
        if self._function is None:
            self._function = self._made()
        return cast(C, self._function if workspace is None else MethodType(self._function, workspace))

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Section]:
        """Return the positional arguments and the request.

        Raises:
            TypeError: for a keyword that is not known, naming the nearest one, or for a missing argument.
            ConfigError: if a value is not allowed.
        """
        called, fields = f"{self.name}()", self.request.model_fields
        if len(args) > len(self.by_position):
            names = f": {', '.join(self.by_position)}" if self.by_position else ""
            raise TypeError(f"{called} takes {len(self.by_position)} arguments by position{names}; given: {len(args)}.")
        given = dict(zip(self.by_position, args, strict=False))
        known = [*self.required, *fields]
        for name in kwargs:
            if name in given:
                raise TypeError(f"{called} got {name!r} twice.")
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise TypeError(f"{called} has no argument {name!r}; {hint}It takes: {', '.join(known)}.")
        given |= kwargs
        values = {name: value for name, value in given.items() if value is not None and name in fields}
        needed = [*self.required, *(name for name, field in fields.items() if field.is_required())]
        missing = [name for name in needed if given.get(name) is None]
        if missing:
            raise TypeError(f"{called} needs the argument {missing[0]!r}.")
        return [given[name] for name in self.required], parse(self.request, values, self.request.section or self.name)

    def _made(self) -> FunctionType:
        def call(workspace: Any, *args: Any, **kwargs: Any) -> Any:
            operands, request = self.read(args, kwargs)
            if self._before is not None:
                operands = [self._before()(*operands, request)]
            step = self._step()
            lock: AbstractContextManager[None] = workspace._writing() if self._writes else nullcontext()
            with lock:
                return step(workspace._context(), *operands, request)

        call.__name__, call.__module__ = self.name, self._owner.__module__
        call.__qualname__ = f"{self._owner.__qualname__}.{self.name}"
        call.__doc__ = documentation(self.request)
        vars(call)["__signature__"] = inspect.Signature([*self._parameters()])
        return cast(FunctionType, call)

    def _parameters(self) -> Iterable[inspect.Parameter]:
        kinds = inspect.Parameter
        yield kinds("self", kinds.POSITIONAL_OR_KEYWORD)
        for name in self.required:
            yield kinds(name, kinds.POSITIONAL_OR_KEYWORD)
        fields = self.request.model_fields
        # The one that may be given by position stands before the others.
        for name in sorted(fields, key=lambda name: name not in self.by_position):
            field = fields[name]
            default = kinds.empty if field.is_required() else field.get_default(call_default_factory=True)
            kind = kinds.POSITIONAL_OR_KEYWORD if name in self.by_position else kinds.KEYWORD_ONLY
            yield kinds(name, kind, default=default, annotation=plain(field.annotation))


def documentation(request: type[Section]) -> str:
    """Return the docstring of a request, with a paragraph for each field."""
    text, sign, raises = inspect.cleandoc(request.__doc__ or "").partition("\n\nRaises:")
    lines = [
        textwrap.fill(f"{name}: {field.description}", 112, initial_indent="    ", subsequent_indent="        ")
        for name, field in request.model_fields.items()
    ]
    return "\n".join([f"{text}\n\nArgs:", *lines]) + sign + raises


def plain(kind: Any) -> Any:
    """Return a type without the constraints on its values."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return plain(arguments[0])
    if origin is None or origin is Literal:
        return kind
    inner: Any = tuple(part if part is ... else plain(part) for part in arguments)
    return functools.reduce(operator.or_, inner) if origin in (Union, UnionType) else origin[inner]
