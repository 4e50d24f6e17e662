include(CheckCXXSourceCompiles)

# What the library and its programs stand on; all are Debian packages (scripts/setup.sh installs them).
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(OpenMP REQUIRED COMPONENTS CXX)

# oneDNN's fp32 matrix products instead of the library's own. AUTO: where it is installed and the code is compiled
# for AVX-512, on which its kernels are a little faster (docs/performance.md).
set(EXFUSION_ONEDNN AUTO CACHE STRING "Multiply fp32 matrices by oneDNN: AUTO, ON or OFF")
set_property(CACHE EXFUSION_ONEDNN PROPERTY STRINGS AUTO ON OFF)
set(exfusion_with_onednn FALSE)
if(NOT EXFUSION_ONEDNN STREQUAL "OFF")
  find_package(OneDNN QUIET)
  if(OneDNN_FOUND)
    if(EXFUSION_NATIVE)
      set(CMAKE_REQUIRED_FLAGS -march=native)
    endif()
    check_cxx_source_compiles("
      #ifndef __AVX512F__
      #error
      #endif
      int main() {}" EXFUSION_HAS_AVX512)
    unset(CMAKE_REQUIRED_FLAGS)
    if(EXFUSION_HAS_AVX512 OR NOT EXFUSION_ONEDNN STREQUAL "AUTO")
      set(exfusion_with_onednn TRUE)
    endif()
  elseif(NOT EXFUSION_ONEDNN STREQUAL "AUTO")
    message(FATAL_ERROR "EXFUSION_ONEDNN is ${EXFUSION_ONEDNN}, but oneDNN is not installed (Debian: libdnnl-dev)")
  endif()
endif()

# exfusion::io reads and writes JSON and hashes checkpoints; exfusion::data reads gzipped files. Whoever links neither
# need not have these.
find_package(nlohmann_json 3.9 QUIET)
find_package(XxHash QUIET)
find_package(ZLIB QUIET)

if(EXFUSION_BUILD_EXAMPLES OR EXFUSION_BUILD_BENCH OR EXFUSION_BUILD_TESTS)
  find_package(CLI11 2.1 REQUIRED)
endif()
if(EXFUSION_BUILD_EXAMPLES OR EXFUSION_BUILD_TESTS)
  # The programs read pictures, the library does not.
  find_package(PNG QUIET)
  find_package(TurboJpeg QUIET)
  if(NOT nlohmann_json_FOUND OR NOT ZLIB_FOUND OR NOT XxHash_FOUND OR NOT PNG_FOUND OR NOT TurboJpeg_FOUND)
    message(FATAL_ERROR
      "The tests and examples need nlohmann-json, zlib, xxHash, libpng and libjpeg-turbo: run scripts/setup.sh")
  endif()
endif()
if(EXFUSION_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(EXFUSION_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
