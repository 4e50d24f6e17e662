# An overlay port of the checkout that it lies in: vcpkg install exfusion --overlay-ports=CHECKOUT/packaging/vcpkg
get_filename_component(SOURCE_PATH "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)

vcpkg_check_features(OUT_FEATURE_OPTIONS FEATURE_OPTIONS
  FEATURES compiled EXFUSION_INSTALL_COMPILED)

if("compiled" IN_LIST FEATURES)
  vcpkg_check_linkage(ONLY_STATIC_LIBRARY)
else()
  set(VCPKG_BUILD_TYPE release)  # header-only
endif()

vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS
    ${FEATURE_OPTIONS}
    -DEXFUSION_BUILD_TESTS=OFF
    -DEXFUSION_BUILD_EXAMPLES=OFF
    -DEXFUSION_BUILD_BENCH=OFF
    -DEXFUSION_NATIVE=OFF
    -DEXFUSION_ONEDNN=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH lib/cmake/exfusion)

# Those of features that are not installed require what is not there.
set(absent)
if(NOT "io" IN_LIST FEATURES)
  list(APPEND absent exfusion-io)
endif()
if(NOT "data" IN_LIST FEATURES)
  list(APPEND absent exfusion-data exfusion-train)
endif()
foreach(package IN LISTS absent)
  file(REMOVE "${CURRENT_PACKAGES_DIR}/lib/pkgconfig/${package}.pc"
    "${CURRENT_PACKAGES_DIR}/debug/lib/pkgconfig/${package}.pc")
endforeach()
vcpkg_fixup_pkgconfig()

file(REMOVE_RECURSE "${CURRENT_PACKAGES_DIR}/debug/include" "${CURRENT_PACKAGES_DIR}/debug/share")
file(INSTALL "${CMAKE_CURRENT_LIST_DIR}/usage" DESTINATION "${CURRENT_PACKAGES_DIR}/share/${PORT}")
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
