#pragma once

#include <filesystem>

#include <exfusion/exfusion.hpp>

namespace consumer {

exfusion::Index parameters_of(const exfusion::Gpt<float>& model);

bool checkpoint_comes_back(const std::filesystem::path& path);

bool zlib_reads_back(const std::filesystem::path& path);

}  // namespace consumer
