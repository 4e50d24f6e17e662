# The program once for each target; ctest runs both.
enable_testing()
foreach(kind IN ITEMS header_only compiled)
  add_executable(${kind} ${CMAKE_CURRENT_LIST_DIR}/main.cpp ${CMAKE_CURRENT_LIST_DIR}/second_unit.cpp)
  target_link_libraries(${kind} PRIVATE exfusion::train)
  target_compile_options(${kind} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)
  set_target_properties(${kind} PROPERTIES UNITY_BUILD OFF)  # two files are the point
  add_test(NAME ${kind} COMMAND ${kind} ${kind}-output)
endforeach()
target_link_libraries(header_only PRIVATE exfusion::exfusion)
target_link_libraries(compiled PRIVATE exfusion::compiled)
target_compile_definitions(compiled PRIVATE EXPECT_COMPILED)
