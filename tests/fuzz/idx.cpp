#include <exfusion/data/mnist.hpp>

#include "fuzz_target.hpp"

// The input is a file of images, the length of which stands in front, and one of labels.
EXFUSION_FUZZ_TARGET(idx, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFolder folder({"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"});
  folder[0].holding(fuzz::take_part(input));
  folder[1].holding(input);
  const data::ImageSplit split = data::load_mnist(folder.path());
  for (const auto* part : {&split.train, &split.test}) {
    fuzz::expect(std::ssize(part->pixels) == part->count() * part->image_size(), "each image is whole");
    for (const auto label : part->labels) fuzz::expect(label >= 0 && label < part->classes(), "labels fit");
  }
}
