# exfusion::builtin_text: the library's own headers and documents as one text (data/builtin_text.hpp).
# Included, it declares the target. Run as a script (cmake -DLIST=... -DROOT=... -DOUTPUT=... -P), it writes
# the source from the files named in LIST, which are relative to ROOT.
if(CMAKE_SCRIPT_MODE_FILE)
  file(STRINGS ${LIST} files)
  set(pieces "")
  foreach(file IN LISTS files)
    file(READ ${ROOT}/${file} content)
    string(REGEX REPLACE "[^\n -~]" "" content "${content}")
    string(FIND "${content}" ")#text" clash)
    if(NOT clash EQUAL -1)
      message(FATAL_ERROR "${file} contains the delimiter of the built-in text")
    endif()
    # Compilers need not accept a literal over 65,535 characters.
    string(LENGTH "${content}" length)
    foreach(begin RANGE 0 ${length} 60000)
      string(SUBSTRING "${content}" ${begin} 60000 piece)
      string(APPEND pieces "    R\"#text(${piece})#text\",\n")
    endforeach()
  endforeach()
  file(WRITE ${OUTPUT} "#include <string>\n\n#include <exfusion/data/builtin_text.hpp>\n\n"
    "namespace exfusion::data {\n\n"
    "namespace {\n\nconstexpr const char* pieces[] = {\n" "${pieces}" "};\n\n"
    "std::string join() {\n  std::string text;\n  for (const char* piece : pieces) text += piece;\n"
    "  return text;\n}\n\n}  // namespace\n\n"
    "std::string_view builtin_text() {\n  static const std::string text = join();\n  return text;\n}\n\n"
    "}  // namespace exfusion::data\n")
  return()
endif()

file(GLOB_RECURSE builtin_files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
  ${PROJECT_SOURCE_DIR}/docs/*.md ${PROJECT_SOURCE_DIR}/include/exfusion/*.hpp)
list(SORT builtin_files)
set(builtin_list ${PROJECT_BINARY_DIR}/builtin_text/files.txt)
set(builtin_source ${PROJECT_BINARY_DIR}/builtin_text/builtin_text.cpp)
list(JOIN builtin_files "\n" builtin_lines)
file(CONFIGURE OUTPUT ${builtin_list} CONTENT "${builtin_lines}\n" @ONLY)
list(TRANSFORM builtin_files PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE builtin_paths)
add_custom_command(OUTPUT ${builtin_source}
  COMMAND ${CMAKE_COMMAND} -DLIST=${builtin_list} -DROOT=${PROJECT_SOURCE_DIR} -DOUTPUT=${builtin_source}
    -P ${CMAKE_CURRENT_LIST_FILE}
  DEPENDS ${builtin_paths} ${builtin_list} ${CMAKE_CURRENT_LIST_FILE}
  COMMENT "Gathering the built-in text" VERBATIM)
add_library(exfusion_builtin_text STATIC ${builtin_source})
add_library(exfusion::builtin_text ALIAS exfusion_builtin_text)
target_include_directories(exfusion_builtin_text PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
target_compile_features(exfusion_builtin_text PUBLIC cxx_std_20)
set_target_properties(exfusion_builtin_text PROPERTIES EXPORT_NAME builtin_text POSITION_INDEPENDENT_CODE ON)
exfusion_own_build(exfusion_builtin_text)
