#pragma once

#include <algorithm>
#include <type_traits>

#include <exfusion/core/buffer.hpp>
#include <exfusion/core/scalar.hpp>

namespace exfusion::kernels {

/// The caches that memory is asked for into.
enum class CacheLevel : int { second = 2, first = 3 };

/// Asks for `size` elements that will soon be read, or written to if Element is not const, and does not wait
/// for them. Always inlined, as whatever does nothing but prefetch must be: g++ drops calls of such
/// functions.
template <CacheLevel level = CacheLevel::first, class Element>
[[gnu::always_inline]] inline void prefetch(Element* first, Index size) {
  constexpr Index line = storage_alignment / static_cast<Index>(sizeof(Element));
  for (Index i = 0; i < size; i += line) {
    __builtin_prefetch(first + i, std::is_const_v<Element> ? 0 : 1, static_cast<int>(level));
  }
}

inline constexpr Index stream_range = 32;  ///< Elements of the ranges that `stream` goes through.

/// Asks for what a pass over memory comes to `distance` elements after the `size` ones from `first` on. The
/// less a pass computes, the further ahead it must ask.
template <Index distance = 8 * stream_range, class Element>
[[gnu::always_inline]] inline void prefetch_ahead(const Element* first, Index size) {
  prefetch<CacheLevel::second>(first + distance, size);
}

/// Calls `body(begin, end)` for short consecutive ranges of [0, size), and meanwhile has fetched what follows
/// in each of the streams: the processor itself foresees few streams, and none beyond a page.
template <class Body, class... Elements>
[[gnu::always_inline]] inline void stream(Index size, const Body& body, const Elements*... streams) {
  for (Index begin = 0; begin < size; begin += stream_range) {
    const Index end = std::min(begin + stream_range, size);
    (prefetch_ahead(streams + begin, end - begin), ...);
    body(begin, end);
  }
}

}  // namespace exfusion::kernels
