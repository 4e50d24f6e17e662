# What the library and its programs stand on; all are Debian packages (scripts/setup.sh installs them).
find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(OpenMP REQUIRED COMPONENTS CXX)

# exfusion/io reads and writes JSON; exfusion/data reads gzipped files.
find_package(nlohmann_json 3.9 QUIET)
find_package(ZLIB QUIET)

if(EXFUSION_BUILD_EXAMPLES)
  find_package(CLI11 2.1 REQUIRED)
endif()
if(EXFUSION_BUILD_EXAMPLES OR EXFUSION_BUILD_TESTS)
  if(NOT nlohmann_json_FOUND OR NOT ZLIB_FOUND)
    message(FATAL_ERROR "The tests and examples need nlohmann-json and zlib: run scripts/setup.sh")
  endif()
endif()
if(EXFUSION_BUILD_TESTS)
  find_package(GTest REQUIRED)
endif()
if(EXFUSION_BUILD_BENCH)
  find_package(benchmark REQUIRED)
endif()
