#include "../../examples/picture_file.hpp"
#include "fuzz_target.hpp"

// Pictures of up to 2^14 pixels, 4 bytes each: they are compressed, so a short file may hold that much. The
// libraries that decode take up to a MiB beside.
EXFUSION_FUZZ_TARGET(picture, 1 << 20) {
  using namespace exfusion;
  const data::Picture picture = examples::decode_picture(input, "picture", 1 << 14);
  fuzz::expect(std::ssize(picture.pixels) == 3 * picture.height * picture.width, "each pixel is whole");
  const data::Picture square = data::centre_square(picture, 5);
  fuzz::expect(square.pixels.size() == 75, "a square has its size");
}
