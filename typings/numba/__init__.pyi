"""Numba's decorators for the type checker, which cannot see that they change a function's signature."""

from typing import Any

types: Any

def njit(*args: Any, **kwargs: Any) -> Any: ...
def cfunc(*args: Any, **kwargs: Any) -> Any: ...
