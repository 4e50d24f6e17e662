#pragma once

// The safetensors format: reading (safetensors_reader.hpp) and writing (safetensors_writer.hpp).

#include <exfusion/io/safetensors_reader.hpp>
#include <exfusion/io/safetensors_writer.hpp>
