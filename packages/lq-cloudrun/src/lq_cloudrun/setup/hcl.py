"""Writes the few shapes of HCL that definitions need: blocks, quoted text, numbers, lists and references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

Value: TypeAlias = "str | int | bool | Reference | Sequence[str] | Mapping[str, str]"


class Reference(str):
    """An expression, such as ``google_service_account.job.email``, which is written without quotes."""

    __slots__ = ()


@dataclass(frozen=True)
class Block:
    """A block with labels, attributes and inner blocks."""

    kind: str
    labels: Sequence[str] = ()
    attributes: Mapping[str, Value] = field(default_factory=dict[str, Value])
    blocks: Sequence["Block"] = ()
    comment: str | None = None

    def written(self, indent: str = "") -> str:
        """Write the block in the form of ``terraform fmt``."""
        head = " ".join((self.kind, *map(quoted, self.labels)))
        inner = indent + "  "
        lines = [f"{indent}{head} {{"]
        if self.comment:
            lines.append(f"{inner}# {self.comment}")
        width = max(map(len, self.attributes), default=0)
        lines += [f"{inner}{name:<{width}} = {_value(value, inner)}" for name, value in self.attributes.items()]
        for number, block in enumerate(self.blocks):
            if number or self.attributes:
                lines.append("")
            lines.append(block.written(inner))
        return "\n".join((*lines, f"{indent}}}"))


def quoted(text: str) -> str:
    """Write text in quotes, so that nothing in it is an expression."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "$${").replace("%{", "%%{")
    return f'"{escaped}"'.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _value(value: Value, indent: str = "") -> str:
    match value:
        case Reference():
            return str(value)
        case str():
            return quoted(value)
        case bool() | int():
            return str(value).lower()
        case Mapping():
            names = [name if name.isidentifier() else quoted(name) for name in value]
            width = max(map(len, names), default=0)
            pairs = zip(names, value.values(), strict=True)
            inner = "".join(f"{indent}  {name:<{width}} = {quoted(each)}\n" for name, each in pairs)
            return f"{{\n{inner}{indent}}}"
        case _:
            return f"[{', '.join(map(_value, value))}]"
