# pandas' own annotations give most expressions a union of ten types: checked as if it had none.
from typing import Any

def __getattr__(name: str) -> Any: ...
