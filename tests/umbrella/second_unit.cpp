#include <exfusion/exfusion.hpp>

namespace exfusion {

Index parameters_seen_by_second_unit(const Gpt<float>& model) { return parameter_count<float>(model); }

}  // namespace exfusion
