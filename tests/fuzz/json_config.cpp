#include <exfusion/io/gpt2.hpp>
#include <exfusion/io/json_config.hpp>
#include <exfusion/io/vit.hpp>

#include "fuzz_target.hpp"

// The first byte says whether the rest is the config.json of a GPT-2 or of a ViT. 64 KiB: nodes of the
// document.
EXFUSION_FUZZ_TARGET(json_config, 64 << 10) {
  using namespace exfusion;
  const unsigned choice = fuzz::take_byte(input);
  const io::JsonConfig json("config.json", std::string(input));
  if (choice % 2 == 0) {
    const GptConfig config = io::read_gpt2_config(json);
    const io::JsonConfig written("again", io::gpt2_config(config, "float32").dump());
    fuzz::expect(io::read_gpt2_config(written).hidden() == config.hidden(), "the sizes survive");
  } else {
    const VitConfig config = io::read_vit_config(json, 1 + choice / 2);
    const io::JsonConfig written("again", io::vit_config(config, {}, "float32").dump());
    fuzz::expect(io::read_vit_config(written, config.classes).tokens() == config.tokens(),
                 "the sizes survive");
  }
}
