# cmake --install: headers, the two static libraries, a CMake package and files for pkg-config. All of them find
# each other by relative paths, so what is installed can be moved.
if(NOT EXFUSION_INSTALL OR NOT EXFUSION_INSTALL_COMPILED)
  set_target_properties(exfusion_compiled exfusion_builtin_text PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
if(NOT EXFUSION_INSTALL)
  return()
endif()

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)
set(exfusion_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/exfusion)

set(exfusion_libraries)
if(EXFUSION_INSTALL_COMPILED)
  set(exfusion_libraries compiled builtin_text)
  foreach(library IN LISTS exfusion_libraries)
    # Debugging information would name the folders of this machine.
    target_compile_options(exfusion_${library} PRIVATE $<$<CONFIG:Debug,RelWithDebInfo>:
      -ffile-prefix-map=${PROJECT_SOURCE_DIR}=exfusion -ffile-prefix-map=${PROJECT_BINARY_DIR}=build>)
  endforeach()
endif()

# One export for each component: whoever does not ask for one need not have what it stands on.
install(TARGETS exfusion EXPORT exfusion-targets INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT exfusion-targets NAMESPACE exfusion:: DESTINATION ${exfusion_package_dir})
foreach(component IN LISTS exfusion_components exfusion_libraries)
  install(TARGETS exfusion_${component} EXPORT exfusion-${component}-targets
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(EXPORT exfusion-${component}-targets NAMESPACE exfusion:: DESTINATION ${exfusion_package_dir})
endforeach()

configure_package_config_file(cmake/exfusionConfig.cmake.in ${PROJECT_BINARY_DIR}/exfusionConfig.cmake
  INSTALL_DESTINATION ${exfusion_package_dir} NO_SET_AND_CHECK_MACRO)
set(any_architecture)
if(NOT exfusion_libraries)
  set(any_architecture ARCH_INDEPENDENT)
endif()
write_basic_package_version_file(${PROJECT_BINARY_DIR}/exfusionConfigVersion.cmake
  COMPATIBILITY SameMinorVersion ${any_architecture})
install(FILES ${PROJECT_BINARY_DIR}/exfusionConfig.cmake ${PROJECT_BINARY_DIR}/exfusionConfigVersion.cmake
  cmake/FindOneDNN.cmake cmake/FindXxHash.cmake DESTINATION ${exfusion_package_dir})

install(DIRECTORY include/exfusion DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# NAME.pc from its description, Requires, Cflags and Libs.
function(exfusion_pkg_config pc_name pc_description pc_requires pc_cflags pc_libs)
  set(pc_dir ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig)
  file(RELATIVE_PATH pc_prefix ${pc_dir} ${CMAKE_INSTALL_PREFIX})
  file(RELATIVE_PATH pc_includedir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
  file(RELATIVE_PATH pc_libdir ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
  string(REGEX REPLACE "/$" "" pc_prefix "${pc_prefix}")
  configure_file(cmake/exfusion.pc.in ${PROJECT_BINARY_DIR}/${pc_name}.pc @ONLY)
  install(FILES ${PROJECT_BINARY_DIR}/${pc_name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endfunction()

set(pc_onednn_cflags)
set(pc_onednn_libs)
if(exfusion_with_onednn)
  set(pc_onednn_cflags " -DEXFUSION_ONEDNN")
  set(pc_onednn_libs " -ldnnl")
endif()
# -fopenmp is what both compilers know, whichever has built this.
exfusion_pkg_config(exfusion "${PROJECT_DESCRIPTION}" eigen3
  "-I\${includedir} -fopenmp${pc_onednn_cflags}" "-fopenmp${pc_onednn_libs}")
# xxHash is compiled in: its header is needed, not its library.
set(pc_private "Requires.private: libxxhash\n")
exfusion_pkg_config(exfusion-io "ExFusion's files: models, tensors, checkpoints" "exfusion nlohmann_json" "" "")
set(pc_private)
exfusion_pkg_config(exfusion-data "ExFusion's data sets, tokenizers and loaders" "exfusion-io zlib" "" "")
exfusion_pkg_config(exfusion-train "ExFusion's runs: checkpoints, metrics, reports" exfusion-data "" "")
if(exfusion_libraries)
  exfusion_pkg_config(exfusion-compiled "ExFusion with its kernels compiled once" exfusion
    -DEXFUSION_COMPILED "-L\${libdir} -lexfusion_compiled")
  exfusion_pkg_config(exfusion-builtin_text "ExFusion's built-in text" exfusion "" "-L\${libdir} -lexfusion_builtin_text")
endif()
