# TurboJpeg::TurboJpeg: libjpeg-turbo's own interface, which reports errors by return values.
find_path(TurboJpeg_INCLUDE_DIR turbojpeg.h)
find_library(TurboJpeg_LIBRARY turbojpeg)
mark_as_advanced(TurboJpeg_INCLUDE_DIR TurboJpeg_LIBRARY)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TurboJpeg REQUIRED_VARS TurboJpeg_LIBRARY TurboJpeg_INCLUDE_DIR)
if(TurboJpeg_FOUND AND NOT TARGET TurboJpeg::TurboJpeg)
  add_library(TurboJpeg::TurboJpeg UNKNOWN IMPORTED)
  set_target_properties(TurboJpeg::TurboJpeg PROPERTIES
    IMPORTED_LOCATION ${TurboJpeg_LIBRARY} INTERFACE_INCLUDE_DIRECTORIES ${TurboJpeg_INCLUDE_DIR})
endif()
