// A function of a library that is opened at run time, under its own name: the backend calls it as if it were linked.
// A list of functions is a macro of lines X(result, name, parameters, arguments, result without the library).
#pragma once

/// Defines the function; a `const Library& library()` is in scope.
#define GRADUS_TRAMPOLINE(result, name, parameters, arguments, otherwise)                  \
  result name parameters {                                                                 \
    static const auto function = reinterpret_cast<decltype(&name)>(library().find(#name)); \
    return function ? function arguments : otherwise;                                      \
  }
/// Its name, in a list.
#define GRADUS_FUNCTION_NAME(result, name, parameters, arguments, otherwise) #name,
