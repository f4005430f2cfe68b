"""A model as a C++ array, for firmware that has no file system."""

import re
from dataclasses import dataclass

_ALIGNMENT = 16  # TFLite Micro reads the flatbuffer in place and wants it on a 16-byte boundary
_BYTES_PER_LINE = 12
_KEYWORDS = """
    alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t
    char8_t class co_await co_return co_yield compl concept const const_cast consteval constexpr
    constinit continue decltype default delete do double dynamic_cast else enum explicit export
    extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq
    nullptr operator or or_eq private protected public register reinterpret_cast requires return
    short signed sizeof static static_assert static_cast struct switch template this thread_local
    throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t while
    xor xor_eq
"""
_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*_?")


@dataclass(frozen=True)
class CArray:
    """The two files of an array.

    Attributes:
        source: text of `NAME.cc`, which defines the array.
        header: text of `NAME.h`, which declares it and holds its length `NAME_size`.
    """

    source: str
    header: str


def check_identifier(name: str) -> str:
    """The name itself when C++ allows it as a global name.

    Args:
        name: the name of a variable or function.

    Returns:
        `name`.

    Raises:
        ValueError: not an identifier, a keyword, or reserved (a leading or double underscore).
    """
    if not _IDENTIFIER.fullmatch(name) or name in _KEYWORDS.split():
        raise ValueError(
            "name must be a C++ identifier: letters, digits and single underscores, starting with a letter, "
            f"no keyword. Received: name={name!r}. Use a name such as 'model'."
        )
    return name


def c_array(data: bytes, name: str) -> CArray:
    """Writes bytes as an aligned constant array in C++11.

    Args:
        data: the bytes, at least one.
        name: identifier of the array and stem of the two files.

    Returns:
        `NAME.cc` and `NAME.h`; the same bytes and name give the same text.

    Raises:
        ValueError: `name` is no C++ identifier, or there are no bytes.
    """
    check_identifier(name)
    if not data:
        raise ValueError(f"Array '{name}': data must not be empty. Received: 0 bytes. Pass a .tflite model.")
    guard = f"{name.upper().rstrip('_')}_H_"
    header = f"""\
#ifndef {guard}
#define {guard}

#include <cstddef>

constexpr std::size_t {name}_size = {len(data)};
extern const unsigned char {name}[{name}_size];

#endif  // {guard}
"""
    source = f"""\
#include "{name}.h"

alignas({_ALIGNMENT}) const unsigned char {name}[{name}_size] = {{
{_rows(data)}
}};
"""
    return CArray(source=source, header=header)


def _rows(data: bytes) -> str:
    rows = (data[start : start + _BYTES_PER_LINE] for start in range(0, len(data), _BYTES_PER_LINE))
    return "\n".join(f"    0x{row.hex(' ').replace(' ', ', 0x')}," for row in rows)
