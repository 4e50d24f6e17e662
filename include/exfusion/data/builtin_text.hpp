#pragma once

#include <string_view>

namespace exfusion::data {

/// A small English and C++ text that is always there: this library's own headers and documents, printable
/// ASCII and newlines only. Programs that call it link the CMake target `exfusion::builtin_text`.
std::string_view builtin_text();

}  // namespace exfusion::data
