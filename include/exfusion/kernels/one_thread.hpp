#pragma once

#include <omp.h>

namespace exfusion::kernels::detail {

/// While it exists, this thread begins no parallel region of several threads: for calls of libraries that
/// split their work among threads, with results that depend on how many there are, unless they are called in
/// such a region. A loop over one range is none.
class OneThread {
 public:
  OneThread() { omp_set_num_threads(1); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;
  ~OneThread() { omp_set_num_threads(before_); }

 private:
  int before_ = omp_get_max_threads();
};

}  // namespace exfusion::kernels::detail
