#include <csignal>
#include <vector>

#include <gtest/gtest.h>
#include <sys/time.h>

#include <exfusion/kernels/gemm.hpp>

namespace exfusion::kernels {
namespace {

volatile std::sig_atomic_t signals = 0;

/// While it lives, a signal comes every 300 microseconds of the clock.
class Storm {
 public:
  Storm() {
    struct sigaction action {};
    action.sa_handler = [](int) { signals = signals + 1; };
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, &before_);
    set_interval(300);
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;
  ~Storm() {
    set_interval(0);
    sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  static void set_interval(int microseconds) {
    const struct itimerval timer {
      {0, microseconds}, { 0, microseconds }
    };
    setitimer(ITIMER_REAL, &timer, nullptr);
  }
  struct sigaction before_ {};
};

TEST(Gemm, IsNotDisturbedBySignals) {
  const Index sizes[] = {17, 64, 65, 128, 200};
  const std::vector<float> a(200 * 200, 0.5F), b(200 * 200, 0.25F);
  std::vector<float> c(200 * 200);
  const Storm storm;
  Index wrong = 0, products = 0;
  while (signals < 1500) {
    const Index rows = sizes[products % 5], columns = sizes[products / 5 % 5],
                inner = sizes[products / 25 % 5];
    // Blocks of the heap whose bookkeeping a stray stack frame would overwrite.
    const std::vector<std::vector<int>> blocks(50,
                                               std::vector<int>(static_cast<std::size_t>(products % 61 + 1)));
    Gemm<float>::multiply(MatrixView<const float>{a.data(), rows, inner, inner, 1},
                          MatrixView<const float>{b.data(), inner, columns, columns, 1},
                          MatrixView<float>{c.data(), rows, columns, columns, 1}, false);
    for (Index i = 0; i < rows * columns; ++i)
      wrong += c[static_cast<std::size_t>(i)] != 0.125F * static_cast<float>(inner);
    ++products;
  }
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace exfusion::kernels
