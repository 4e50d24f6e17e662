#pragma once

#include <fstream>
#include <string>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace exfusion::bench {

/// Lets `peak_memory` begin again from what the process holds now, without freed memory that the allocator
/// has kept. Does nothing where there is no /proc.
inline void reset_peak_memory() {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
  std::ofstream("/proc/self/clear_refs") << "5";
}

/// Most memory that the process has held at once, in bytes (VmHWM); 0 where there is no /proc.
inline double peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (double kilobytes = 0; word == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace exfusion::bench
