// A second translation unit with the same headers: everything in them must be inline.

#include <exfusion/exfusion.hpp>

exfusion::Index parameters_seen_by_second_unit(const exfusion::Gpt<float>& model) {
  return exfusion::parameter_count<float>(model);
}
