#include <exfusion/data/cifar.hpp>

#include "fuzz_target.hpp"

// The input is a file for training, the length of which stands in front, and one for testing.
EXFUSION_FUZZ_TARGET(cifar, 64 << 10) {
  using namespace exfusion;
  static fuzz::MemoryFolder folder({"data_batch_1.bin", "test_batch.bin"});
  folder[0].holding(fuzz::take_part(input));
  folder[1].holding(input);
  const data::ImageSplit split = data::load_cifar10(folder.path());
  for (const auto* part : {&split.train, &split.test}) {
    fuzz::expect(std::ssize(part->pixels) == part->count() * part->image_size(), "each image is whole");
    for (const auto label : part->labels) fuzz::expect(label >= 0 && label < part->classes(), "labels fit");
  }
}
