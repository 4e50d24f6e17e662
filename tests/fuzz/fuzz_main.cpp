// The libFuzzer program of one target: runs it on each input, holds single allocations to the target's limit
// and the time to a second.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <sanitizer/allocator_interface.h>

#include <exfusion/core/error.hpp>
#include <exfusion/core/parallel.hpp>

#include "fuzz_target.hpp"

namespace {

using namespace exfusion::fuzz;

thread_local bool is_running = false;

void check_allocation(const volatile void*, std::size_t bytes) {
  if (!is_running || bytes <= allocation_limit) return;
  is_running = false;
  std::fprintf(stderr, "==%d== ERROR: an allocation of %zu bytes: the limit for this input is %zu\n",
               static_cast<int>(::getpid()), bytes, allocation_limit);
  std::abort();
}

/// Time that this process has worked; libFuzzer's -timeout counts what other processes take, too.
double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

void ignore_free(const volatile void*) {}

}  // namespace

/// Five times as fast as with the usual ones: one input is over before much of the quarantine is used, and a
/// finding can be run again with ASAN_OPTIONS=malloc_context_size=30 to see where its memory came from.
extern "C" const char* __asan_default_options() { return "quarantine_size_mb=8:malloc_context_size=0"; }

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  if (targets().size() != 1 || __sanitizer_install_malloc_and_free_hooks(check_allocation, ignore_free) == 0)
    std::abort();
  // The OpenMP runtime takes a megabyte for itself when it is first used: no input's doing.
  exfusion::parallel_for(2, 1, [](exfusion::Index, exfusion::Index) {});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Target& target = targets().front();
  allocation_limit = target.constant_bytes + 4 * size;
  const double begin = cpu_seconds();
  is_running = true;
  try {
    target.run({reinterpret_cast<const char*>(data), size});
  } catch (const exfusion::Error&) {
  }
  is_running = false;
  if (cpu_seconds() - begin > 1) {
    std::fprintf(stderr, "==%d== ERROR: an input took more than a second\n", static_cast<int>(::getpid()));
    std::abort();
  }
  return 0;
}
