#pragma once

#include <exception>
#include <iostream>
#include <new>
#include <optional>
#include <string>

#include <CLI/CLI.hpp>
#include <omp.h>

#include <exfusion/core/error.hpp>

// How every program here begins and ends.

namespace exfusion::examples {

/// What every program returns when its input is at fault.
inline constexpr int bad_input = 2;
/// What a program returns whose training has left the finite numbers.
inline constexpr int not_finite = 3;
/// What a program returns that was told to stop by a signal.
inline constexpr int interrupted = 130;

/// An option given twice counts as given last.
inline constexpr auto last_wins = CLI::MultiOptionPolicy::TakeLast;

/// Reads the command line; the exit code when there is nothing left to do (help, or a mistake).
inline std::optional<int> parse(CLI::App& app, int argc, char** argv) {
  app.get_formatter()->column_width(36);
  try {
    app.parse(argc, argv);
    return std::nullopt;
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : bad_input;
  }
}

/// Says what went wrong.
inline int report(const std::exception& error) {
  std::cout << std::flush;
  const bool out_of_memory = dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
  std::cerr << "error: " << (out_of_memory ? "out of memory: choose a smaller model or batch" : error.what())
            << '\n';
  return bad_input;
}

/// Throws ConfigError naming the flag, its value and the limit unless `holds`.
inline void require(bool holds, const std::string& flag, auto value, const char* limit) {
  if (!holds) throw ConfigError(flag, "is ", value, ": it must be ", limit);
}

/// Sets the number of threads; 0: one per core. Throws ConfigError when it is negative or over 1024.
inline void set_threads(int threads) {
  require(threads >= 0 && threads <= 1024, "--threads", threads, "0 to 1024");
  if (threads > 0) omp_set_num_threads(threads);
}

}  // namespace exfusion::examples
